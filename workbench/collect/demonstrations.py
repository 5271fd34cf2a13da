"""What supervised fine-tuning reads: the answers people wrote."""

from typing import Any

from workbench.records import split_of
from workbench.store import Store


def sft_rows(store: Store) -> list[dict[str, Any]]:
    """One row per demonstration, oldest first: prompt, completion, split, id (of the demonstration), simulated."""
    return [
        {
            "prompt": row.prompt,
            "completion": row.text,
            "split": split_of(row.prompt),
            "id": row.id,
            "simulated": row.simulated,
        }
        for row in store.demonstrations()
    ]

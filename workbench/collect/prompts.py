"""Which prompts there are to begin with, and which one comes next."""

from collections.abc import Container
from typing import Any

from workbench.records import Prompt
from workbench.store import Store

WORLD_PROMPTS = 2000  # of the sandbox's own, for a method that learns from prompts alone


def starter(n: int = 30) -> list[str]:
    """The first prompts for an empty workspace, of every kind the sandbox knows."""
    from workbench.sandbox import world

    return [prompt if isinstance(prompt, str) else prompt.text for prompt in world.starter(n)]


def next_to_write(store: Store, rater: str, too_long: Container[str] = ()) -> Prompt | None:
    """The oldest prompt nobody has answered; those this rater skipped come last. None when all are answered.

    Held-out prompts are never offered, for an answer to them is not trained on; nor are those in `too_long`, texts that
    the model cannot read.
    """
    answered = {demonstration.prompt_id for demonstration in store.demonstrations()}
    skipped = set(store.skips(rater, "demonstration"))
    candidates = store.prompts("train")
    unanswered = [prompt for prompt in candidates if prompt.id not in answered and prompt.text not in too_long]
    return min(unanswered, key=lambda prompt: (prompt.id in skipped, prompt.id), default=None)


def next_to_rank(store: Store, rater: str | None, n: int) -> list[Prompt]:
    """Up to n prompts, those this rater has judged or skipped least first, then those anybody has."""
    rater_counts = store.judged(rater) if rater is not None else {}
    total_counts = store.judged()
    order = sorted(
        store.prompts(), key=lambda prompt: (rater_counts.get(prompt.id, 0), total_counts.get(prompt.id, 0), prompt.id)
    )
    return order[:n]


def prompt_rows(store: Store, model: str) -> list[dict[str, Any]]:
    """One row per prompt, for methods that learn from prompts alone: id, prompt, split. The model "sandbox" brings many
    of its own."""
    texts = {prompt.text: prompt.split for prompt in store.prompts()}
    if model == "sandbox":
        from workbench.sandbox import world

        texts |= {prompt.text: "train" for prompt in world.sample(WORLD_PROMPTS, "train", seed=0)}
    return [{"id": i, "prompt": text, "split": split} for i, (text, split) in enumerate(texts.items())]

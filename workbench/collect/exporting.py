"""Writing what was collected to a file that other programs read.

Every row says its split and whether it is simulated, so that neither is lost on the way.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.collect.comparisons import preference_rows, thumb_rows
from workbench.collect.files import FileError
from workbench.collect.saving import write_rows
from workbench.collect.turns import from_text, to_messages, to_text
from workbench.records import Comparison, Demonstration, StepLabels, split_of
from workbench.store import Store

EXPORTS = {
    "prompts": ("trl", "native"),
    "demonstrations": ("trl", "conversational", "messages", "alpaca", "sharegpt", "native"),
    "comparisons": ("trl", "conversational", "hh-rlhf", "unpaired", "native"),
    "steps": ("trl", "native"),
}
SHAREGPT = {"user": "human", "assistant": "gpt", "system": "system"}


def write(store: Store, what: str, path: str | Path, format: str = "trl") -> int:
    """Write all prompts, demonstrations, comparisons or step labels to .jsonl, .json, .csv or .parquet; returns how many rows.

    The file appears whole or not at all. Formats are those of EXPORTS: "trl" comparisons are pairs
    (a ranking gives several, ties none), "unpaired" ones are answers labelled good or bad, "native"
    keeps rankings, ties, who, when shown and how long. "trl" steps are true unless wrong, with -1, 0 and 1 in `ratings`.
    In CSV a cell that a spreadsheet would run (= + - @) gets a quote before it, which importing takes off.
    Raises FileError.
    """
    if what not in EXPORTS:
        raise FileError(f"{what!r} cannot be exported; choose one of {', '.join(EXPORTS)}")
    if format not in EXPORTS[what]:
        raise FileError(f"--format {format}: {what} can be exported as {', '.join(EXPORTS[what])}")
    makers = {"prompts": _prompts, "demonstrations": _demonstrations, "comparisons": _comparisons, "steps": _steps}
    rows = makers[what](store, format)
    write_rows(path, rows)
    return len(rows)


def _prompts(store: Store, format: str) -> list[dict[str, Any]]:
    return [
        {"prompt": prompt.text, "source": prompt.source, "kind": prompt.kind, "split": prompt.split, "simulated": False}
        for prompt in store.prompts()
    ]


def _demonstrations(store: Store, format: str) -> list[dict[str, Any]]:
    return [_demonstration(row, format) | _provenance(row) | {"source": row.source} for row in store.demonstrations()]


def _demonstration(row: Demonstration, format: str) -> dict[str, Any]:
    turns = [*from_text(row.prompt), ("assistant", row.text)]
    if format == "conversational":
        return {"prompt": to_messages(row.prompt), "completion": [{"role": "assistant", "content": row.text}]}
    if format == "messages":
        return {"messages": [{"role": role, "content": text} for role, text in turns]}
    if format == "alpaca":
        return {"instruction": row.prompt, "input": "", "output": row.text}
    if format == "sharegpt":
        return {"conversations": [{"from": SHAREGPT[role], "value": text} for role, text in turns]}
    return {"prompt": row.prompt, "completion": row.text}


def _provenance(row: Demonstration | Comparison | StepLabels) -> dict[str, Any]:
    return {"split": split_of(row.prompt), "simulated": row.simulated, "rater": row.rater}


def _comparisons(store: Store, format: str) -> list[dict[str, Any]]:
    if format == "native":
        return [_native(row) for row in store.comparisons()]
    raters = {row.id: row.rater for row in store.comparisons()}
    rows = thumb_rows(store) if format == "unpaired" else preference_rows(store)
    provenance = [
        {
            "split": row["split"],
            "simulated": row["simulated"],
            "rater": raters[row["id"]],
            "comparison": row["id"],
            **{name: row[name] for name in ("weight",) if name in row},
        }
        for row in rows
    ]
    return [_pair(row, format) | origin for row, origin in zip(rows, provenance, strict=True)]


def _pair(row: dict[str, Any], format: str) -> dict[str, Any]:
    if format == "trl":
        return {name: row[name] for name in ("prompt", "chosen", "rejected")}
    if format == "unpaired":
        return {name: row[name] for name in ("prompt", "completion", "label")}
    if format == "conversational":
        answers = {name: [{"role": "assistant", "content": row[name]}] for name in ("chosen", "rejected")}
        return {"prompt": to_messages(row["prompt"]), **answers}
    turns = from_text(row["prompt"])
    return {name: "\n\n" + to_text([*turns, ("assistant", row[name])]) for name in ("chosen", "rejected")}


def _native(row: Comparison) -> dict[str, Any]:
    place = {response.id: number for number, response in enumerate(row.responses)}
    answers = [asdict(response) for response in row.responses]
    for answer in answers:
        del answer["id"], answer["prompt_id"]
    return {
        "prompt": row.prompt,
        "responses": answers,
        "groups": [[place[id] for id in group] for group in row.groups],
        "shown": [place[id] for id in row.shown],
        "acceptable": row.acceptable,
        **_provenance(row),
        "seconds": row.seconds,
        "why": row.why,
        "question": row.question,
        "source": row.source,
    }


def _steps(store: Store, format: str) -> list[dict[str, Any]]:
    rows = []
    for row in store.step_labels():
        fields: dict[str, Any] = {"steps": list(row.steps), "labels": list(row.labels)}
        if format == "trl":
            labels = [label != -1 for label in row.labels]
            fields = {"completions": list(row.steps), "labels": labels, "ratings": list(row.labels)}
        rows.append({"prompt": row.prompt, **fields, **_provenance(row), "seconds": row.seconds, "source": row.source})
    return rows

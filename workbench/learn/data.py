"""What a run learns from, frozen into its folder; in which order; and the first batch as the text the model sees.

Imports no torch.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.learn.catalogue import METHODS, AnswerArgs, TrainArgs
from workbench.learn.catalogue.facts import Row
from workbench.learn.run_files import DataCounts, SpoiledFile

if TYPE_CHECKING:
    from workbench.store import Store

SAMPLES = 4  # prompts whose answers are shown as training goes on


class MissingData(ValueError):
    """There is nothing to learn from yet. `action` is where it comes from: "Demonstrate" or "Rank"."""

    def __init__(self, message: str, action: str) -> None:
        super().__init__(message)
        self.action = action


def rows(store: Store, method: str, model: str = "") -> tuple[list[Row], list[Row]]:
    """(train, held out) rows for the method, oldest first. Raises MissingData.

    To a method that learns from prompts alone the model "sandbox" brings many of its own.
    """
    m = METHODS[method]
    judged = m.read(store, model)
    train = [r for r in judged if r["split"] == "train"]
    if (missing := shortfall(method, len(train), len(judged), m.shortage(train) if train else "")) is not None:
        raise missing
    return train, [r for r in judged if r["split"] == "heldout"]


def shortfall(method: str, train: int, n: int, shortage: str) -> MissingData | None:
    """Why `train` training rows of `n` rows in all do not do, `shortage` being what the method itself says; None when
    they do."""
    m = METHODS[method]
    if not n:
        return MissingData(m.missing, m.source.tab)
    if not train:
        text = f"All {n} {m.unit} are for prompts that are held out for testing. Some more are needed."
        return MissingData(text, m.source.tab)
    return MissingData(shortage, m.source.tab) if shortage else None


def counted(method: str, train: Sequence[Row], heldout: Sequence[Row]) -> DataCounts:
    """How much these rows are."""
    simulated = sum(bool(row.get("simulated")) for part in (train, heldout) for row in part)
    n, unit = len(train) + len(heldout), METHODS[method].unit
    return DataCounts(n=n, train=len(train), heldout=len(heldout), simulated=simulated, unit=unit)


def freeze(folder: Path, train: Sequence[Row], heldout: Sequence[Row], prompts: dict[str, list[str]]) -> str:
    """Write data/train.jsonl, data/heldout.jsonl and data/prompts.json; return the hash of all three."""
    folder.mkdir(parents=True)
    digest = blake2b(digest_size=16)
    for name, text in (
        ("train.jsonl", _jsonl(train)),
        ("heldout.jsonl", _jsonl(heldout)),
        ("prompts.json", json.dumps(prompts, ensure_ascii=False, indent=1)),
    ):
        (folder / name).write_text(text, "utf-8")
        digest.update(text.encode("utf-8"))
    return digest.hexdigest()


def _jsonl(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def load(folder: Path) -> tuple[list[Row], list[Row], dict[str, list[str]]]:
    """The frozen (train rows, held-out rows, prompts) of a run's data folder. Raises SpoiledFile."""
    train, heldout = (_load(folder / name) for name in ("train.jsonl", "heldout.jsonl"))
    return train, heldout, json.loads((folder / "prompts.json").read_text("utf-8"))


def _load(file: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(file.read_text("utf-8").split("\n"), 1):
        try:
            row = json.loads(line or "{}")
        except ValueError:
            raise SpoiledFile(file, f"line {number} is no JSON") from None
        if line and (not isinstance(row, dict) or not isinstance(row.get("prompt"), str)):
            raise SpoiledFile(file, f"line {number} has no prompt")
        rows += [row] if line else []
    return rows


def prompts(
    model: str, store: Store, args: TrainArgs, train: Sequence[Row], heldout: Sequence[Row]
) -> dict[str, list[str]]:
    """The held-out prompts a run answers: "live" at every look, "final" at its end, "samples" for the page.

    The sandbox brings its own, the same for every run, so that runs can be compared. Other models answer the held-out
    prompts of the workspace; only without any are training prompts shown as samples. A model that only scores answers
    none.
    """
    if not isinstance(args, AnswerArgs):
        return {"samples": [], "live": [], "final": []}
    if model == "sandbox":
        from workbench.sandbox import world

        def drawn(n: int) -> list[str]:
            return [p.text for p in world.sample(n, "heldout", seed=0)]

        return {"samples": _of_each_kind(), "live": drawn(args.live_prompts), "final": drawn(args.final_prompts)}
    texts = list(dict.fromkeys([p.text for p in store.prompts("heldout")] + [r["prompt"] for r in heldout]))
    random.Random(0).shuffle(texts)
    samples = (texts or list(dict.fromkeys(r["prompt"] for r in train)))[:SAMPLES]
    return {"samples": samples, "live": texts[: args.live_prompts], "final": []}


def _of_each_kind() -> list[str]:
    from workbench.sandbox import world

    kinds = ("harm", "claim", "fact", "problem")[:SAMPLES]
    return [random.Random(0).choice(world.prompts("heldout", kind)).text for kind in kinds]


def order(rows: Sequence[Row], n: int, seed: int) -> list[int]:
    """Which row each of `n` examples is: every judgement once per round, in random order.

    A ranking of many answers gives many pairs; each round takes one of them, so that it weighs as much as a vote on
    two answers.
    """
    groups: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row["id"], []).append(i)
    rng = random.Random(seed)
    chosen: list[int] = []
    while len(chosen) < n:
        ids = list(groups)
        rng.shuffle(ids)
        chosen += [rng.choice(groups[i]) for i in ids]
    return chosen[:n]


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt as the chat template frames it, up to where the answer begins."""
    messages = [{"role": "user", "content": prompt}]
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))


def answer_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of an answer, the end token included: the model shall learn to stop."""
    return [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def first_batch(tokenizer: Any, method: str, rows: Sequence[Row], args: TrainArgs) -> list[dict[str, Any]]:
    """The first batch as the model will see it, decoded again from its token ids.

    Each item has "prompt" and, by method, "completion" or "chosen" and "rejected" (these are learned from, the prompt
    is only read), "tokens" (of its longest text) and "cut" (whether max_tokens shortens it).
    """
    batch = []
    for i in order(rows, args.batch_size, args.seed):
        start = prompt_ids(tokenizer, rows[i]["prompt"])
        item: dict[str, Any] = {"prompt": tokenizer.decode(start), "tokens": len(start), "cut": False}
        texts = {}
        for key, text in METHODS[method].texts(rows[i]).items():
            ids = answer_ids(tokenizer, text)
            item["tokens"] = max(item["tokens"], len(start) + len(ids))
            item["cut"] |= len(start) + len(ids) > args.max_tokens
            texts[key] = tokenizer.decode(ids[: max(0, args.max_tokens - len(start))])
        item |= METHODS[method].show(rows[i], texts)
        batch.append(item)
    return batch


def as_text(batch: Sequence[dict[str, Any]]) -> str:
    """The first batch for first_batch.txt."""
    parts = []
    for i, item in enumerate(batch, 1):
        cut = ", cut" if item["cut"] else ""
        lines = [f"--- example {i} of {len(batch)}, {item['tokens']} tokens{cut}", f"[prompt] {item['prompt']}"]
        lines += [f"[{k}] {item[k]}" for k in ("completion", "chosen", "rejected") if k in item]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"

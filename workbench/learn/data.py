"""What a run learns from, frozen into its folder; in which order; and the first batch as the text the model sees.

Imports no torch.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.learn.catalogue import METHODS
from workbench.learn.fields import AnswerArgs, TrainArgs
from workbench.models import chat
from workbench.sandbox import spelling

if TYPE_CHECKING:
    from workbench.store import Store

Row = dict[str, Any]
STEP_WORDS = {-1: "wrong", 0: "neutral", 1: "right"}
SAMPLES = 4  # prompts whose answers are shown as training goes on
WORLD_PROMPTS = 2000  # of the sandbox's own, for a method that learns from prompts alone
TEXTS: dict[str, tuple[str, ...]] = {
    "sft": ("completion",),
    "dpo": ("chosen", "rejected"),
    "orpo": ("chosen", "rejected"),
    "ppo": (),
    "rloo": (),
    "grpo": (),
}


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
    if m.needs == "prompts":
        read = _prompt_rows(model)
    elif m.needs == "demonstrations":
        from workbench.collect.demonstrations import sft_rows as read
    elif m.needs == "steps":
        from workbench.collect.steps import step_rows as read
    elif method == "reward":
        from workbench.collect.comparisons import ranking_rows as read
    elif method == "kto":
        from workbench.collect.comparisons import thumb_rows as read
    else:
        from workbench.collect.comparisons import preference_rows as read
    found = read(store)
    train = [r for r in found if r["split"] == "train"]
    if not train:
        where = "Demonstrate" if m.needs == "demonstrations" else "Rank"
        if not found:
            raise MissingData(m.missing, where)
        raise MissingData(
            f"All {len(found)} {m.unit} are for prompts that are held out for testing. Some more are needed.", where
        )
    if method == "kto" and len({r["label"] for r in train}) == 1:
        kind, other = ("good", "bad") if train[0]["label"] else ("bad", "good")
        raise MissingData(
            f"KTO needs answers of both kinds; all {len(train)} are {kind}. Judge some as {other}.", "Rank"
        )
    return train, [r for r in found if r["split"] == "heldout"]


def _prompt_rows(model: str) -> Callable[[Store], list[Row]]:
    def read(store: Store) -> list[Row]:
        texts = {p.text: p.split for p in store.prompts()}
        if model == "sandbox":
            from workbench.sandbox import world

            texts |= {p.text: "train" for p in world.sample(WORLD_PROMPTS, "train", seed=0)}
        return [{"id": i, "prompt": text, "split": split} for i, (text, split) in enumerate(texts.items())]

    return read


def counts(store: Store, method: str, model: str = "") -> dict[str, Any]:
    """How much there is to learn from: {"n", "train", "heldout", "simulated", "unit"}; zeros when there is nothing."""
    try:
        train, heldout = rows(store, method, model)
    except MissingData:
        train, heldout = [], []
    simulated = sum(bool(r.get("simulated")) for r in train + heldout)
    n = len(train) + len(heldout)
    unit = METHODS[method].unit
    return {"n": n, "train": len(train), "heldout": len(heldout), "simulated": simulated, "unit": unit}


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
    """The frozen (train rows, held-out rows, prompts) of a run's data folder."""
    both = [
        [json.loads(line) for line in (folder / name).read_text("utf-8").split("\n") if line]
        for name in ("train.jsonl", "heldout.jsonl")
    ]
    return both[0], both[1], json.loads((folder / "prompts.json").read_text("utf-8"))


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
    return chat.prompt_ids(tokenizer, prompt)


def answer_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of an answer, the token that ends the turn included: the model shall learn to stop."""
    return chat.answer_ids(tokenizer, text)


def first_batch(tokenizer: Any, method: str, rows: Sequence[Row], args: TrainArgs) -> list[dict[str, Any]]:
    """The first batch as the model will see it, decoded again from its token ids.

    Each item has "prompt" and, by method, "completion" or "chosen" and "rejected" (these are learned from, the prompt
    is only read), "tokens" (of its longest text), "cut" (whether max_tokens shortens it) and "respelled" (whether the
    bundled model reads another spelling, see sandbox/spelling.py). A ranking is one
    "completion" that lists its answers, each after its place, labelled steps stand each after its label; a single answer judged good is "chosen", a bad one
    "rejected".
    """
    batch = []
    for i in order(rows, args.batch_size, args.seed):
        start = prompt_ids(tokenizer, rows[i]["prompt"])
        item: dict[str, Any] = {"prompt": tokenizer.decode(start), "tokens": len(start), "cut": False}
        item["respelled"] = spelling.respells(tokenizer, rows[i]["prompt"])
        for key, text in _texts(method, rows[i]):
            item["respelled"] |= spelling.respells(tokenizer, text)
            ids = answer_ids(tokenizer, text)
            item["tokens"] = max(item["tokens"], len(start) + len(ids))
            item["cut"] |= len(start) + len(ids) > args.max_tokens
            item[key] = tokenizer.decode(ids[: max(0, args.max_tokens - len(start))])
        if method == "reward":
            ranked = sorted((place + 1, item.pop(f"answer {k}")) for k, place in enumerate(rows[i]["places"]))
            item["completion"] = "\n".join(f"{place}. {text}" for place, text in ranked)
        if method == "prm":
            judged = zip(rows[i]["labels"], rows[i]["steps"], strict=True)
            item["completion"] = "\n".join(f"[{STEP_WORDS[label]}] {text.strip()}" for label, text in judged)
        batch.append(item)
    return batch


def _texts(method: str, row: Row) -> list[tuple[str, str]]:
    if method == "reward":
        return [(f"answer {k}", text) for k, text in enumerate(row["answers"])]
    if method == "prm":
        return [("completion", "".join(row["steps"]))]
    if method == "kto":
        return [("chosen" if row["label"] else "rejected", row["completion"])]
    return [(key, row[key]) for key in TEXTS[method]]


def as_text(batch: Sequence[dict[str, Any]]) -> str:
    """The first batch for first_batch.txt."""
    parts = []
    for i, item in enumerate(batch, 1):
        cut = (", cut" if item["cut"] else "") + (", respelled for the bundled model" if item["respelled"] else "")
        lines = [f"--- example {i} of {len(batch)}, {item['tokens']} tokens{cut}", f"[prompt] {item['prompt']}"]
        lines += [f"[{k}] {item[k]}" for k in ("completion", "chosen", "rejected") if k in item]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"

"""What a run learns from, frozen into its folder; in which order; and the first batch as the text the model sees.

Imports no torch.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.learn.catalogue import METHODS
from workbench.learn.examples import Example, Limits, Row, examples, nothing_left
from workbench.learn.fields import AnswerArgs, TrainArgs
from workbench.processes import read_json, write_atomic

if TYPE_CHECKING:
    from workbench.store import Store

START = "start"  # folder in a run's: a copy of the adapter it starts from
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
STEP_WORDS = {-1: "wrong", 0: "neutral", 1: "right"}
SAMPLES = 4  # prompts whose answers are shown as training goes on
WORLD_PROMPTS = 2000  # of the sandbox's own, for a method that learns from prompts alone


class MissingData(ValueError):
    """There is nothing to learn from yet. `action` is where it comes from: "Demonstrate" or "Rank"."""

    def __init__(self, message: str, action: str) -> None:
        super().__init__(message)
        self.action = action


class ChangedStart(ValueError):
    """The adapter that a run starts from is not the one it was prepared with."""


class ChangedTokens(ValueError):
    """The data is other token ids than it was when the run began."""


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


def freeze_start(adapter: Path, folder: Path) -> str | None:
    """Copy the adapter that a run starts from into its folder; return the copy's hash."""
    folder.mkdir(parents=True)
    for name in ADAPTER_FILES:
        shutil.copy2(adapter / name, folder / name)
    return start_hash(folder)


def start_hash(folder: Path) -> str | None:
    """The hash of the adapter in the folder, None when there is none."""
    digest = blake2b(digest_size=16)
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            return None
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def frozen_start(run_folder: Path, config: dict[str, Any]) -> Path | None:
    """The folder of the adapter that the run starts from, None for the base: a copy of its own, since the run it is
    taken from may be resumed and change. Raises ChangedStart."""
    if not config["parent"]:
        return None
    start = run_folder / START
    digest = start_hash(start)
    if digest is None or digest != config.get("start"):
        raise ChangedStart(
            f"{start} is not the copy of run {config['parent']}'s adapter that was made when this run was prepared. "
            "Start a new run."
        )
    return start


def check_same_tokens(folder: Path, digest: str) -> None:
    """Write the hash of the token ids down when a run begins; raise ChangedTokens at a resume with others."""
    file = folder / "tokens.json"
    if not file.is_file():
        write_atomic(file, json.dumps({"hash": digest}))
    elif read_json(file).get("hash") != digest:
        raise ChangedTokens(
            "the model's tokenizer or chat template has changed since the run began, so its data would be other "
            "tokens. Start a new run."
        )


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


def row_seed(seed: int, step: int, row: int) -> int:
    """Of what a row of a step draws: a resumed run draws again what the uninterrupted one drew."""
    return (seed << 44) + (step << 20) + row


def first_batch(
    tokenizer: Any, method: str, rows: Sequence[Row], args: TrainArgs, context: int | None = None
) -> list[dict[str, Any]]:
    """The first batch as the model will see it, decoded again from its token ids.

    Each item has "prompt" and, by method, "completion" or "chosen" and "rejected" (these are learned from, the prompt
    is only read), "tokens" (of its longest text) and "cut" (whether something of it had to be cut). A ranking is one
    "completion" that lists its answers, each after its place, labelled steps stand each after its label; a single
    answer judged good is "chosen", a bad one "rejected". Rows that are left out are passed over; `context` is how many
    tokens the model reads. Raises NothingToLearn when no row is left.
    """
    limits = Limits.of(args, context or args.max_tokens)
    usable, left_out = examples(tokenizer, method, rows, limits)
    if not usable:
        raise nothing_left(method, left_out)
    return batch_of(tokenizer, method, usable, args)


def batch_of(tokenizer: Any, method: str, usable: Sequence[Example], args: TrainArgs) -> list[dict[str, Any]]:
    """The same of examples that are token ids already."""
    batch = []
    for i in order([e.row for e in usable], args.batch_size, args.seed):
        one, row = usable[i], usable[i].row
        decoded = {key: tokenizer.decode(ids) for key, ids in one.answers.items()}
        longest = max(map(len, one.answers.values()), default=0)
        item = {"prompt": tokenizer.decode(one.prompt), "tokens": len(one.prompt) + longest, "cut": bool(one.cut)}
        if method == "reward":
            ranked = sorted((place + 1, decoded[f"answer {k}"]) for k, place in enumerate(row["places"]))
            item["completion"] = "\n".join(f"{place}. {text}" for place, text in ranked)
        elif method == "prm":
            judged = zip(row["labels"], row["steps"], strict=True)
            item["completion"] = "\n".join(f"[{STEP_WORDS[label]}] {text.strip()}" for label, text in judged)
        elif method == "kto":
            item["chosen" if row["label"] else "rejected"] = decoded["completion"]
        else:
            item |= decoded
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

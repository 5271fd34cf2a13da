"""What a run learns from, frozen into its folder; in which order; and the first batch as the text the model sees.

Imports no torch.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.learn.catalogue import METHODS, AnswerArgs, TrainArgs
from workbench.learn.catalogue.facts import Row
from workbench.learn.examples import Example, Limits, examples, nothing_to_learn
from workbench.learn.run_files import DataCounts, RunConfig, SpoiledFile
from workbench.processes import read_json, write_atomic
from workbench.records import how_many
from workbench.sandbox import spelling

if TYPE_CHECKING:
    from workbench.store import Store

START = "start"  # folder in a run's: a copy of the adapter it starts from
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
SAMPLES = 4  # prompts whose answers are shown as training goes on


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
    all_rows = m.read(store, model)
    train = [r for r in all_rows if r["split"] == "train"]
    if (missing := shortfall(method, len(train), len(all_rows), m.shortage(train) if train else "")) is not None:
        raise missing
    return train, [r for r in all_rows if r["split"] == "heldout"]


def shortfall(method: str, train: int, n: int, shortage: str) -> MissingData | None:
    """Why `train` training rows of `n` rows in all do not do, `shortage` being what the method itself says; None when
    they do."""
    m = METHODS[method]
    if not n:
        return MissingData(m.missing, m.source.tab)
    if not train:
        text = f"There is data for held-out prompts alone ({how_many(n, m.unit)}), which are kept for evaluation. Add more."
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


def freeze_start(adapter: Path, folder: Path) -> str | None:
    """Copy the adapter that a run starts from into its folder; return the copy's hash."""
    folder.mkdir(parents=True)
    for name in ADAPTER_FILES:
        shutil.copy2(adapter / name, folder / name)
    digest = start_hash(folder)
    assert digest is not None
    return digest


def start_hash(folder: Path) -> str | None:
    """The hash of the adapter in the folder, None when there is none."""
    digest = blake2b(digest_size=16)
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            return None
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def frozen_start(run_folder: Path, config: RunConfig) -> Path | None:
    """The folder of the adapter that the run starts from, None for the base: a copy of its own, since the run it is
    taken from may be resumed and change. Raises ChangedStart."""
    if config.parent is None:
        return None
    if config.start is None:  # made before starts were copied
        return next(run_folder.parent.glob(f"{config.parent:04d}-*")) / "adapter"
    start = run_folder / START
    digest = start_hash(start)
    if digest is None or digest != config.start:
        raise ChangedStart(
            f"{start} is not the copy of run {config.parent}'s adapter that was made when this run was prepared. "
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
            "the model's tokenizer or chat template has changed since the run began, so its data would give "
            "different tokens. Start a new run."
        )


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
            raise SpoiledFile(file, f"line {number} is not valid JSON") from None
        if line and (not isinstance(row, dict) or not isinstance(row.get("prompt"), str)):
            raise SpoiledFile(file, f"line {number} has no prompt")
        rows += [row] if line else []
    return rows


def prompts(
    model: str, store: Store, args: TrainArgs, train: Sequence[Row], heldout: Sequence[Row]
) -> dict[str, list[str]]:
    """The held-out prompts a run answers: "live" at every look, "final" at its end, "samples" for the page.

    The sandbox brings its own, the same for every run, so that runs can be compared; settings may be chosen by the live
    ones, never by the final ones. Other models answer the held-out
    prompts of the workspace; only without any are training prompts shown as samples. A model that only scores answers
    none.
    """
    if not isinstance(args, AnswerArgs):
        return {"samples": [], "live": [], "final": []}
    if model == "sandbox":
        from workbench.sandbox import world

        live, final = world.tuning(args.live_prompts), world.reporting(args.final_prompts)
        return {"samples": _of_each_kind(), "live": [p.text for p in live], "final": [p.text for p in final]}
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
    indices: list[int] = []
    while len(indices) < n:
        ids = list(groups)
        rng.shuffle(ids)
        indices += [rng.choice(groups[i]) for i in ids]
    return indices[:n]


def row_seed(seed: int, step: int, row: int) -> int:
    """Of what a row of a step draws: a resumed run draws again what the uninterrupted one drew."""
    return (seed << 44) + (step << 20) + row


def first_batch(
    tokenizer: Any, method: str, rows: Sequence[Row], args: TrainArgs, context: int | None = None
) -> list[dict[str, Any]]:
    """The first batch as the model will see it, decoded again from its token ids.

    Each item has "prompt" and, by method, "completion" or "chosen" and "rejected" (these are learned from, the prompt
    is only read), "tokens" (of its longest text), "cut" (whether something of it had to be cut) and "respelled" (whether
    the bundled model reads another spelling, see sandbox/spelling.py). Rows that are left out are passed over; `context`
    is how many tokens the model reads. Raises NothingToLearn when no row is left.
    """
    limits = Limits.of(args, context or args.max_tokens)
    usable, exclusions = examples(tokenizer, method, rows, limits)
    if not usable:
        raise nothing_to_learn(method, exclusions)
    return batch_of(tokenizer, method, usable, args)


def batch_of(tokenizer: Any, method: str, usable: Sequence[Example], args: TrainArgs) -> list[dict[str, Any]]:
    """The same of examples that are token ids already."""
    batch = []
    for i in order([e.row for e in usable], args.batch_size, args.seed):
        one = usable[i]
        decoded = {key: tokenizer.decode(ids) for key, ids in one.answers.items()}
        longest = max(map(len, one.answers.values()), default=0)
        item = {"prompt": tokenizer.decode(one.prompt), "tokens": len(one.prompt) + longest, "cut": bool(one.cut)}
        texts = [one.row["prompt"], *METHODS[method].texts(one.row).values()]
        item["respelled"] = any(spelling.respells(tokenizer, text) for text in texts)
        item |= METHODS[method].show(one.row, decoded)
        batch.append(item)
    return batch


def as_text(batch: Sequence[dict[str, Any]]) -> str:
    """The first batch for first_batch.txt."""
    parts = []
    for i, item in enumerate(batch, 1):
        cut = (", cut" if item["cut"] else "") + (", respelled for the bundled model" if item["respelled"] else "")
        lines = [f"--- example {i} of {len(batch)}, {item['tokens']} tokens{cut}", f"[prompt] {item['prompt']}"]
        lines += [f"[{k}] {item[k]}" for k in ("completion", "chosen", "rejected") if k in item]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"

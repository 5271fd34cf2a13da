"""One run in its process: folder, settings, the model with the adapter to train, data, reporter.

A method's file (sft.py, dpo.py) has `train(work) -> result`; it makes a TRL trainer with `Tracked` mixed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import PeftModel

from workbench import models
from workbench.learn import data
from workbench.learn.catalogue import TrainArgs, parse
from workbench.learn.engine import checkpoints
from workbench.learn.engine.adapter import POLICY, START, frozen_hash, with_adapter
from workbench.learn.engine.reporter import Reporter
from workbench.learn.run_files import RunConfig
from workbench.models import lora
from workbench.records import Sampling

T = TypeVar("T")


@dataclass
class Work:
    """One run in its process: its folder and settings, the model with the adapter to train, the data, the reporter."""

    folder: Path
    config: RunConfig
    args: Any
    report: Reporter
    model: models.Model
    peft: PeftModel
    train: list[data.Row]
    heldout: list[data.Row]
    prompts: dict[str, list[str]]
    resume_from: Path | None = None
    first_step: int = 0
    frozen: str = ""
    trained_for: float = 0.0
    beside: Callable[[Path], None] | None = None  # writes what else belongs into the adapter's folder
    last: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, run: Any, report: Reporter) -> Work:
        """Load what the run folder names. Raises ModelError for a model that cannot be loaded."""
        args: TrainArgs = parse(run.method, run.config["args"])
        train, heldout, prompts = data.load(run.folder / "data")
        model = models.load(run.config["model"])
        report.alive()
        torch.manual_seed(args.seed)
        parent = run.config["parent"]
        restriction = lora.targets(model.hf)[1]
        if restriction and not parent:
            report.notice(restriction)
        peft = with_adapter(model, args, run.folder.parent, parent)
        model.adopt(peft, *([POLICY, START] if parent else [POLICY]))
        work = cls(run.folder, run.config, args, report, model, peft, train, heldout[:], prompts)
        work.heldout = work.heldout[: args.held_out]
        work.frozen = frozen_hash(peft)
        batch = data.first_batch(model.tokenizer, run.method, train, args)
        (run.folder / "first_batch.txt").write_text(data.as_text(batch), "utf-8")
        cut = sum(item["cut"] for item in batch)
        if cut:
            report.notice(f"{cut} of the first {len(batch)} examples are longer than max_tokens and are cut.")
        work._find_checkpoint()
        return work

    @property
    def start(self) -> str | None:
        """The adapter that stands for where the run began: None is the base."""
        return START if self.config["parent"] else None

    @property
    def sampling(self) -> Sampling:
        a = self.args
        return Sampling(temperature=a.temperature, max_new_tokens=a.max_new_tokens, seed=a.seed)

    def alive(self) -> bool:
        """A sign of life for the watchdog; False, so that a generation can have it as its `should_stop`."""
        self.report.alive()
        return False

    def patiently(self, call: Callable[..., T]) -> Callable[..., T]:
        """`call` with the watchdog's patience, for what cannot tell of itself: a person's reward function, say."""

        def patient(*given: Any) -> T:
            with self.report.patience():
                return call(*given)

        return patient

    def _find_checkpoint(self) -> None:
        found, notices = checkpoints.newest(self.folder / "checkpoints")
        for text in notices:
            self.report.notice(text)
        told = (self.folder / "metrics.jsonl").stat().st_size > 0
        if found is not None:
            self.resume_from, self.first_step = found, checkpoints.step_of(found)
            self.trained_for = json.loads((found / "state.json").read_text("utf-8"))["trained_for"]
        if told:
            self.report.back_to(self.first_step if found is not None else -1)
            self.report.notice(f"Resumed from step {self.first_step}.")


# Looking at held-out examples


# The end

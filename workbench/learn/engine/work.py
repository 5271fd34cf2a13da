"""One run in its process: folder, settings, the model with the adapter to train, data, reporter.

A method's file (sft.py, dpo.py) has `train(work) -> result`; it makes a TRL trainer with `Tracked` mixed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import PeftModel

from workbench import models
from workbench.learn import data, dry_run, examples
from workbench.learn.catalogue import TrainArgs, parse
from workbench.learn.catalogue.facts import Row
from workbench.learn.engine import checkpoints
from workbench.learn.engine.adapter import POLICY, START, frozen_hash, with_adapter
from workbench.learn.engine.reporter import Reporter
from workbench.learn.examples import Example, Limits
from workbench.learn.run_files import RunConfig
from workbench.models import chat, lora, origin
from workbench.models.tokens import freeze_date
from workbench.records import Sampling, how_many

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
    train: list[Row]
    heldout: list[Row]
    prompts: dict[str, list[str]]
    resume_from: Path | None = None
    first_step: int = 0
    frozen: str = ""  # hash of the weights that must not change
    loaded: str = ""  # the same of what was loaded, before a method attached a reward or removed START
    trained_for: float = 0.0
    write_beside: Callable[[Path], None] | None = None  # writes what else belongs into the adapter's folder
    last: dict[str, Any] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)  # `train` as token ids

    @classmethod
    def open(cls, run: Any, report: Reporter) -> Work:
        """Load what the run folder names. Raises ModelError for a model that cannot be loaded, NothingToLearn when
        every row has to be left out, ChangedStart and ChangedTokens when a resume would not go on with the same."""
        args: TrainArgs = parse(run.method, run.config.args)
        train, heldout, prompts = data.load(run.folder / "data")
        start = data.frozen_start(run.folder, run.config)
        if difference := origin.difference(run.config, run.config.model):
            raise models.ModelError(f"This run {difference}.")
        model = models.load(run.config.model, trust_remote_code=run.config.trust_remote_code)
        freeze_date(model.tokenizer, datetime.fromisoformat(run.config.created))
        report.alive()
        torch.manual_seed(args.seed)
        restriction = "" if start else lora.targets(model.hf)[1]
        peft = with_adapter(model, args, start)
        model.adopt(peft, *([POLICY, START] if start else [POLICY]))
        work = cls(run.folder, run.config, args, report, model, peft, train, heldout, prompts)
        work.frozen = work.loaded = frozen_hash(peft)
        work._notice_once([restriction or "", chat.openings(model.tokenizer)])
        work._encode()
        dry_run.one_row(model, peft, work.examples)
        batch = data.batch_of(model.tokenizer, run.method, work.examples, args)
        (run.folder / "first_batch.txt").write_text(data.as_text(batch), "utf-8")
        work._find_checkpoint()
        return work

    @property
    def method(self) -> str:
        return self.config.method

    @property
    def limits(self) -> Limits:
        return Limits.of(self.args, self.model.context)

    def _encode(self) -> None:
        """The rows as token ids, without those that nothing can be learned from, and the prompts without those that
        cannot be answered; the person is told of these."""
        tokenizer, limits, method = self.model.tokenizer, self.limits, self.method
        examples.check_learnable(tokenizer, method, self.train, limits)
        self.examples, exclusions = examples.examples(tokenizer, method, self.train, limits)
        held_out, held_out_exclusions = examples.examples(tokenizer, method, self.heldout, limits)
        self.prompts, long = examples.answerable(tokenizer, self.prompts, limits)
        data.check_same_tokens(self.folder / "data", examples.digest([*self.examples, *held_out]))
        notices = examples.notices(method, self.examples, exclusions, limits)
        notices += examples.notices(method, held_out, held_out_exclusions, limits, held_out=True)
        if long:
            notices.append(
                f"{how_many(len(long), 'held-out prompts')} cannot be answered during training: with max_new_tokens "
                f"({limits.new_tokens}), longer than the {limits.context:,} tokens that the model reads. "
                f"{examples.instance(long)}"
            )
        self._notice_once(notices)
        self.train = [one.row for one in self.examples]
        self.heldout = [one.row for one in held_out][: self.args.held_out]

    def _notice_once(self, texts: Iterable[str]) -> None:
        """Those of the texts that say something and that the run has not said before it was resumed."""
        for text in filter(None, texts):
            if text not in (self.report.get("notices") or ()):
                self.report.notice(text)

    @property
    def start(self) -> str | None:
        """The adapter that stands for where the run began: None is the base."""
        return START if self.config.parent else None

    def policy(self, step: int) -> str | None:
        """The adapter that answers after `step` updates: None is the base, of which a fresh adapter changes nothing."""
        return POLICY if step or self.start else None

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

        def patient(*args: Any) -> T:
            with self.report.patience():
                return call(*args)

        return patient

    def _find_checkpoint(self) -> None:
        checkpoint, notices = checkpoints.newest(self.folder / "checkpoints", self.loaded)
        self.report.status(frozen=self.loaded)
        for text in notices:
            self.report.notice(text)
        is_resumed = (self.folder / "metrics.jsonl").stat().st_size > 0
        if checkpoint is not None:
            self.resume_from, self.first_step = checkpoint, checkpoints.step_of(checkpoint)
            self.trained_for = json.loads((checkpoint / "state.json").read_text("utf-8"))["trained_for"]
        if is_resumed:
            self.report.back_to(self.first_step if checkpoint is not None else -1)
            self.report.notice(f"Resumed from step {self.first_step}.")

"""Direct preference optimisation (Rafailov et al. 2023): chosen answers become likelier than rejected ones.

The reference is where the run began: the base with the adapter off, or a frozen copy of the adapter it continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from workbench.intervals import clustered
from workbench.learn import data
from workbench.learn.catalogue.facts import Row
from workbench.learn.engine import evaluation, trl_trainer
from workbench.learn.engine.adapter import POLICY
from workbench.learn.engine.work import Work

ROUNDING = 1e-4  # nats; log-ratios closer to each other than this are a tie


class Trainer(trl_trainer.Tracked, DPOTrainer):
    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # the rows are token ids already


def train(work: Work) -> dict[str, Any]:
    """Train `work.peft` on the pairs of `work.train`; return the run's result."""
    a = work.args
    heldout = HeldOut()
    if work.resume_from is None:
        evaluation.evaluate(work, 0, heldout.accuracy)
    config = DPOConfig(
        **trl_trainer.trainer_settings(work),
        beta=a.beta,
        loss_type=[a.loss],
        label_smoothing=a.label_smoothing,
    )
    with trl_trainer.reference(work):
        trainer = Trainer(model=work.peft, args=config, train_dataset=rows(work), processing_class=work.model.tokenizer)
    return trl_trainer.run(trainer, work, heldout.accuracy)


def rows(work: Work) -> Dataset:
    """Every pair in the order of training: `prompt_ids`, `chosen_ids`, `rejected_ids`."""
    rows = [
        {"prompt_ids": one.prompt, "chosen_ids": one.answers["chosen"], "rejected_ids": one.answers["rejected"]}
        for one in work.examples
    ]
    return Dataset.from_list(rows).select(
        data.order(work.train, work.args.steps * work.args.batch_size, work.args.seed)
    )


class HeldOut:
    """Accuracy on held-out pairs; what the reference thinks of them is computed once."""

    def __init__(self) -> None:
        self._reference: list[float] | None = None

    def accuracy(self, work: Work, step: int) -> dict[str, Any]:
        """Share of held-out judgements whose chosen answer gained more than the rejected one, ties half; Wilson's
        interval. All pairs of one ranking count as one judgement."""
        if not work.heldout:
            return {}
        margins = [0.0] * len(work.heldout) if step == 0 else self._margins(work)
        return judgement_accuracy(work.heldout, margins) | {
            "heldout_margin": work.args.beta * sum(margins) / len(margins)
        }

    def _margins(self, work: Work) -> list[float]:
        """[log p(chosen) - log p(rejected)] of the policy minus that of the reference, in nats."""
        if self._reference is None:
            self._reference = _differences(work, work.start)
        now = _differences(work, POLICY)
        return [a - b for a, b in zip(now, self._reference, strict=True)]


def judgement_accuracy(pairs: Sequence[Row], margins: Sequence[float]) -> dict[str, Any]:
    """Share of judgements met, by the margin of each of their pairs; its interval takes prompts as clusters."""
    judgements: dict[tuple[str, Any], list[float]] = {}
    for row, margin in zip(pairs, margins, strict=True):
        hit = 0.5 if abs(margin) < ROUNDING else float(margin > 0)
        judgements.setdefault((row["prompt"], row["id"]), []).append(hit)
    by_prompt: dict[str, list[float]] = {}
    for (prompt, _), hits in judgements.items():
        by_prompt.setdefault(prompt, []).append(sum(hits) / len(hits))
    share, low, high, n = clustered([sum(v) for v in by_prompt.values()], [len(v) for v in by_prompt.values()])
    return evaluation.with_interval("accuracy", share, low, high, round(n))


def _differences(work: Work, adapter: str | None) -> list[float]:
    chosen = evaluation.answer_logprobs(work, work.heldout, "chosen", adapter)
    rejected = evaluation.answer_logprobs(work, work.heldout, "rejected", adapter)
    return [sum(c) - sum(r) for c, r in zip(chosen, rejected, strict=True)]

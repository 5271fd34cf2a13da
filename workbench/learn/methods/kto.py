"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024), by TRL: from single answers, each judged good or bad.

A good answer shall gain more probability than answers in general do, a bad one less; what answers in general gain is
estimated on prompts with answers to other prompts (the paper's z0). The reference is where the run began, as in DPO.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from workbench.learn import data
from workbench.learn.engine import evaluation, trl_trainer
from workbench.learn.engine.adapter import POLICY
from workbench.learn.engine.work import Work
from workbench.learn.methods.dpo import judgement_accuracy


class Trainer(trl_trainer.Tracked, KTOTrainer):
    """TRL's KTOTrainer with z0 estimated once on the whole batch: TRL takes a micro-batch's own, so that its updates
    depend on how the batch is cut up."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # the rows are token ids already

    def get_batch_samples(self, *args: Any) -> tuple[list[Any], Any]:
        self._batch, count = super().get_batch_samples(*args)
        self._kl_logps: dict[str, Tensor] = {}
        return self._batch, count

    def _compute_kl_logps(self, model: Any, batch: dict[str, Any]) -> Tensor:
        """log p of every answer to another prompt, of all micro-batches; TRL asks the policy first, then, with
        gradients off and the adapter turned, the reference, and takes the mean of the difference."""
        whose = "policy" if torch.is_grad_enabled() else "reference"
        if whose not in self._kl_logps:
            compute: Callable[[Any, dict[str, Any]], Tensor] = super()._compute_kl_logps
            self._kl_logps[whose] = torch.cat([compute(model, self._prepare_inputs(one)) for one in self._batch])
        return self._kl_logps[whose]


def train(work: Work) -> dict[str, Any]:
    """Train `work.peft` on the judged answers of `work.train`; return the run's result."""
    a, heldout = work.args, HeldOut()
    if work.resume_from is None:
        evaluation.evaluate(work, 0, heldout.accuracy)
    examples = rows(work)
    good, bad = weights(examples["label"], a.desirable_weight, a.undesirable_weight)
    if good != bad:
        work.report.notice(f"A good answer has weight {good:.2g}, a bad one {bad:.2g}.")
    config = KTOConfig(
        **trl_trainer.trainer_settings(work),
        beta=a.beta,
        desirable_weight=good,
        undesirable_weight=bad,
        disable_dropout=a.lora_dropout == 0,
    )
    with trl_trainer.reference(work):
        trainer = Trainer(model=work.peft, args=config, train_dataset=examples, processing_class=work.model.tokenizer)
    return trl_trainer.run(trainer, work, heldout.accuracy)


def rows(work: Work) -> Dataset:
    """Every example in the order of training: `prompt_ids`, `completion_ids`, `label` (whether it is good), and
    `KL_completion_ids`, an answer to another prompt of the same batch."""
    a, rows = work.args, []
    order = data.order(work.train, a.steps * a.batch_size, a.seed)
    for k in range(0, len(order), a.batch_size):
        batch = [work.examples[i] for i in order[k : k + a.batch_size]]
        for one, other in zip(batch, elsewhere([one.row["prompt"] for one in batch]), strict=True):
            room = work.limits.tokens - len(one.prompt)
            rows.append(
                {
                    "prompt_ids": one.prompt,
                    "completion_ids": one.answers["completion"],
                    "KL_completion_ids": batch[other].answers["completion"][:room],
                    "label": one.row["label"],
                }
            )
    return Dataset.from_list(rows)


def elsewhere(prompts: Sequence[str]) -> list[int]:
    """For each place of a batch the nearest place before it, around the corner too, that has another prompt; simply
    the place before it where all prompts are the same."""
    n = len(prompts)
    return [
        next((j % n for j in range(i - 1, i - n, -1) if prompts[j % n] != prompts[i]), (i - 1) % n) for i in range(n)
    ]


def weights(labels: Sequence[bool], good: float | None, bad: float | None) -> tuple[float, float]:
    """Weights of good and bad answers; what is open is chosen so that both kinds together weigh the same (eq. 8 of the
    paper, at its lower end), none above 1 unless one was given."""
    n_good = sum(labels)
    n_bad = len(labels) - n_good
    if not n_good or not n_bad:
        return good or 1.0, bad or 1.0
    if bad is not None:
        return bad * n_bad / n_good if good is None else good, bad
    if good is not None:
        return good, good * n_good / n_bad
    return min(1.0, n_bad / n_good), min(1.0, n_good / n_bad)


class HeldOut:
    """Accuracy on held-out answers; what the reference thinks of them is computed once."""

    def __init__(self) -> None:
        self._reference: list[float] | None = None

    def accuracy(self, work: Work, step: int) -> dict[str, Any]:
        """Share of held-out judgements met: a good answer gained more probability than held-out answers do on average,
        a bad one less, ties half. The answers of one comparison count as one judgement."""
        if not work.heldout:
            return {}
        gains = [0.0] * len(work.heldout) if step == 0 else self._gains(work)
        middle = sum(gains) / len(gains)
        signs = [1 if row["label"] else -1 for row in work.heldout]
        return judgement_accuracy(work.heldout, [s * (gain - middle) for s, gain in zip(signs, gains, strict=True)])

    def _gains(self, work: Work) -> list[float]:
        """log p(answer) of the policy minus that of the reference, in nats."""
        if self._reference is None:
            self._reference = _logps(work, work.start)
        return [a - b for a, b in zip(_logps(work, POLICY), self._reference, strict=True)]


def _logps(work: Work, adapter: str | None) -> list[float]:
    return [sum(row) for row in evaluation.answer_logprobs(work, work.heldout, "completion", adapter)]

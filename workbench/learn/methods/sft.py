"""Supervised fine-tuning: the answers people wrote become likely. Cross entropy on the answer's tokens only."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from workbench.intervals import ratio_ci
from workbench.learn import data
from workbench.learn.engine import evaluation, trl_trainer
from workbench.learn.engine.work import Work


class Trainer(trl_trainer.Tracked, SFTTrainer):
    pass


def train(work: Work) -> dict[str, Any]:
    """Train `work.peft` on `work.train`; return the run's result."""
    if work.resume_from is None:
        evaluation.evaluate(work, 0, heldout_loss)
    config = SFTConfig(
        **trl_trainer.trainer_settings(work),
        completion_only_loss=True,
        dataset_kwargs={"skip_prepare_dataset": True},  # the rows are token ids already
    )
    trainer = Trainer(model=work.peft, args=config, train_dataset=rows(work), processing_class=work.model.tokenizer)
    return trl_trainer.run(trainer, work, heldout_loss)


def rows(work: Work) -> Dataset:
    """Every example in the order of training: `input_ids`, and `labels` that leave out (-100) the prompt."""
    rows = [
        {
            "input_ids": one.prompt + one.answers["completion"],
            "labels": [-100] * len(one.prompt) + one.answers["completion"],
        }
        for one in work.examples
    ]
    return Dataset.from_list(rows).select(
        data.order(work.train, work.args.steps * work.args.batch_size, work.args.seed)
    )


def heldout_loss(work: Work, step: int) -> dict[str, Any]:
    """Cross entropy in nats per token on held-out answers, with its interval over answers."""
    if not work.heldout:
        return {}
    logps = evaluation.answer_logprobs(work, work.heldout, "completion", work.policy(step))
    sums, counts = [-sum(row) for row in logps], [len(row) for row in logps]
    return evaluation.with_interval("heldout_loss", *ratio_ci(sums, counts), len(logps))

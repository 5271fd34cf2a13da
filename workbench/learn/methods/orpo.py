"""Odds-ratio preference optimisation (Hong et al. 2024): imitate the chosen answers, and make their odds grow over those
of the rejected ones, in one stage and without a reference.

TRL's own ORPO is experimental and prepares its data in a way of its own, so the loss stands here (losses.odds_ratio),
on TRL's DPO trainer and on the rows of dpo.py. It imitates the answer alone, as the paper has it; TRL's and the
authors' code imitate the prompt as well.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from trl.trainer.dpo_config import DPOConfig

from workbench.learn.engine import evaluation, losses, trl_trainer
from workbench.learn.engine.work import Work
from workbench.learn.methods import dpo


class Trainer(dpo.Trainer):
    """TRL's DPOTrainer with another loss: its batches and its log-probabilities, and no reference."""

    adds = {"imitation_loss": "imitation_loss", "log_odds": "log_odds"}  # noqa: RUF012
    parts = 1  # micro-batches of this update
    chosen_tokens = 0  # of all of them

    def get_batch_samples(self, *args: Any) -> tuple[list[Any], Any]:
        batches, count = super().get_batch_samples(*args)
        self.parts = len(batches)
        self.chosen_tokens = sum(int(one["completion_mask"][:, 1:].chunk(2)[0].sum()) for one in batches)
        return batches, count

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=labels,
            use_cache=False,
            fused_lm_head=True,
        )
        counted = inputs["completion_mask"][:, 1:].sum(1)
        summed = outputs.log_probs[:, -(labels.shape[1] - 1) :].sum(1)  # 0 where no answer stands
        chosen, rejected = (summed / counted).chunk(2)  # the batch is [chosen, rejected]
        # a mean over the chosen answers' tokens of the whole batch, however it is cut into micro-batches
        imitation = -summed.chunk(2)[0].sum() * self.parts / self.chosen_tokens
        log_odds = losses.log_odds(chosen) - losses.log_odds(rejected)
        loss = imitation + self.work.args.odds_weight * losses.odds_ratio(chosen, rejected)
        for name, value in (("imitation_loss", imitation), ("log_odds", log_odds.mean())):
            self._metrics["train"][name].append(value.item())
        return (loss, outputs) if return_outputs else loss


def train(work: Work) -> dict[str, Any]:
    """Train `work.peft` on the pairs of `work.train`; return the run's result."""
    if work.resume_from is None:
        evaluation.evaluate(work, 0, accuracy)
    config = DPOConfig(**trl_trainer.trainer_settings(work), disable_dropout=work.args.lora_dropout == 0)
    with trl_trainer.reference(work):
        trainer = Trainer(
            model=work.peft, args=config, train_dataset=dpo.rows(work), processing_class=work.model.tokenizer
        )
    return trl_trainer.run(trainer, work, accuracy)


def accuracy(work: Work, step: int) -> dict[str, Any]:
    """Share of held-out judgements whose chosen answer is likelier per token than the rejected one, with its
    interval. All pairs of one ranking count as one judgement."""
    if not work.heldout:
        return {}
    chosen, rejected = (
        [sum(row) / len(row) for row in evaluation.answer_logprobs(work, work.heldout, key, work.policy(step))]
        for key in ("chosen", "rejected")
    )
    return dpo.judgement_accuracy(work.heldout, [c - r for c, r in zip(chosen, rejected, strict=True)])

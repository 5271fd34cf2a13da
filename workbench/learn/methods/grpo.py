"""Group relative policy optimisation (Shao et al. 2024), by TRL: an answer's advantage is its reward minus the mean of
all answers to the same prompt, over their standard deviation.

Unlike in RLOO the KL penalty is a part of the loss, and the loss is a mean over tokens. How answers are sampled and
rewarded is rloo.py's.
"""

from __future__ import annotations

from typing import Any

from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from workbench.learn.engine.work import Work
from workbench.learn.methods import rloo


class Trainer(rloo.Sampled, GRPOTrainer):
    def _generate_single_turn(self, *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        return self.sample(), None


def train(work: Work) -> dict[str, Any]:
    """Train `work.peft` on the prompts of `work.train`; return the run's result."""
    loss = work.args.loss
    scale = "none" if loss == "dr_grpo" else "group"  # Liu et al. 2025: dividing by the deviation favours easy prompts
    config = GRPOConfig(**rloo.settings(work), loss_type=loss, scale_rewards=scale)
    return rloo.run(work, Trainer, config, copies=work.args.kl_coefficient > 0)

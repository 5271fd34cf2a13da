"""REINFORCE leave-one-out (Ahmadian et al. 2024), by TRL: the other answers to a prompt say what was to be expected.

No value has to be learned: an answer's advantage is its reward, less the KL penalty, minus the mean of its siblings'.
Each round's answers are learned from once, so what samples and what learns are the same model, as in the paper.

`Sampled` replaces three of TRL's steps, for GRPO too: how prompts become token ids, how answers are written, and what
a reward is told. Everything else, advantages and losses above all, is TRL's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from workbench.learn import data
from workbench.learn.engine import adapter, evaluation, trl_trainer
from workbench.learn.engine.adapter import POLICY
from workbench.learn.engine.work import Work
from workbench.learn.rewards.python_file import Reward
from workbench.learn.rewards.sources import build
from workbench.models import generate
from workbench.records import Sampling

SAME = 1e-9  # rewards closer than this are one and the same


class Sampled(trl_trainer.Tracked):
    """Mixed into TRL's trainers that sample. The answers come from workbench.models.generate, which on a small model is many
    times as fast as transformers' own generation, and each draws from (seed, step, row): a resumed run needs no
    generator's state to draw what the uninterrupted one drew."""

    adds = {name: name for name in ("same_reward", "length", "ended", "seconds_generate", "seconds_score")}  # noqa: RUF012
    adds["earned"] = "reward"
    questions: list[str]
    warned = False  # of a reward that is always the same

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """In place of TRL's, which puts plain text into no chat template."""
        self.questions = prompts
        return [self.work.model.prompt_ids(p) for p in prompts], None, {}

    def sample(self) -> list[list[int]]:
        """Token ids of one answer to each of the questions, the end token included where it ended by itself."""
        start, a = time.perf_counter(), self.work.args
        sampling = Sampling(temperature=a.temperature, max_new_tokens=a.max_new_tokens, seed=a.seed)
        step = self.state.global_step + 1  # type: ignore[attr-defined]
        seeds = [data.row_seed(a.seed, step, row) for row in range(len(self.questions))]
        with answering(self.work):
            answers = generate.generate(
                self.work.model,
                self.questions,
                sampling,
                [POLICY] * len(seeds),
                should_stop=self.work.alive,
                seeds=seeds,
            )
        self.log_figures(
            ended=sum(g.ended for g in answers) / len(answers),
            length=sum(len(g.tokens) for g in answers) / len(answers),
            seconds_generate=time.perf_counter() - start,
        )
        return [g.tokens for g in answers]

    def rewarded(self, reward: Reward, prompts: list[str], completions: list[str], ids: list[list[int]]) -> list[float]:
        """The reward of each answer, less the penalty of one that did not end. A step with a reward that is no finite
        number is rejected."""
        start, ends = time.perf_counter(), self.work.model.end_ids
        with answering(self.work):
            rewards = reward(prompts, completions)
        if not torch.tensor(rewards).isfinite().all():
            self.bad, self.cause = True, "reward"
        n, cut = self.work.args.answers_per_prompt, self.work.args.end_penalty
        values = [value - cut * (tokens[-1] not in ends) for value, tokens in zip(rewards, ids, strict=True)]
        self._check_differences(rewards, values)
        groups = [rewards[k : k + n] for k in range(0, len(rewards), n)]
        self.log_figures(
            earned=sum(rewards) / len(rewards),
            same_reward=sum(map(same, groups)) / len(groups),
            seconds_score=time.perf_counter() - start,
        )
        return values

    def _check_differences(self, rewards: list[float], penalized: list[float]) -> None:
        """No update where no group of answers differs: all advantages are 0, and of what is left, a KL gradient that at
        the start is rounding at most, Adam would make steps of full size. A notice, once, where only ends differ."""
        n, step = self.work.args.answers_per_prompt, self.state.global_step + 1  # type: ignore[attr-defined]
        if all(same(penalized[k : k + n]) for k in range(0, len(penalized), n)):
            self.idle = (
                "the answers to each prompt all got the same reward, so there was nothing to learn from. "
                "Check the reward."
            )
        elif same(rewards) and not self.warned:
            self.warned = True
            self.work.report.notice(
                f"All {len(rewards)} answers of step {step} got the same reward, {rewards[0]:.4g}: only whether they "
                "ended makes a difference. Check the reward."
            )

    def log_figures(self, **values: float) -> None:
        """For the step's row of metrics, through TRL's own log."""
        for name, value in values.items():
            self._metrics["train"][name].append(value)  # type: ignore[attr-defined]


def same(rewards: Sequence[float]) -> bool:
    return max(rewards) - min(rewards) < SAME


@contextmanager
def answering(work: Work) -> Iterator[None]:
    """Without dropout, and so that rows may speak through different adapters; then back to learning."""
    work.peft.eval()
    try:
        yield
    finally:
        work.peft.train()


class Trainer(Sampled, RLOOTrainer):
    def _generate_single_turn(self, *_: Any) -> list[list[int]]:
        return self.sample()


def train(work: Work) -> dict[str, Any]:
    """Train `work.peft` on the prompts of `work.train`; return the run's result."""
    return run(work, Trainer, RLOOConfig(**settings(work)))


def settings(work: Work) -> dict[str, Any]:
    """What RLOO's and GRPO's configs share."""
    a = work.args
    shared = trl_trainer.trainer_settings(work)
    del shared["max_length"], shared["train_sampling_strategy"]
    return shared | {
        "num_generations": a.answers_per_prompt,
        "max_completion_length": a.max_new_tokens,
        "temperature": a.temperature,
        "beta": a.kl_coefficient,
        "disable_dropout": True,  # what samples and what learns shall be the same model
        "shuffle_dataset": False,  # the order of the prompts is ours, see data.order
    }


def run(work: Work, kind: type, config: Any, copies: bool = True) -> dict[str, Any]:
    """Train with TRL's trainer `kind`, which makes its own frozen copy of the adapter it starts with if it `copies`.
    Raises RewardError for a reward that cannot be had."""
    if work.resume_from is None:
        evaluation.evaluate(work, 0)
    reward = work.patiently(build(work.args.reward, work.folder.parent, work.model))
    work.peft.set_adapter(POLICY)  # attaching a reward model's adapter turned all of them off
    work.frozen = adapter.frozen_hash(work.peft)  # with the reward model's adapter
    trainer: Sampled

    def rewarded(prompts: list[str], completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        return trainer.rewarded(reward, prompts, completions, completion_ids)

    with trl_trainer.reference(work, copies):
        trainer = kind(
            model=work.peft,
            reward_funcs=rewarded,
            args=config,
            train_dataset=prompts(work),
            processing_class=work.model.tokenizer,
        )
    return trl_trainer.run(trainer, work)


def prompts(work: Work) -> Dataset:
    """The prompts of every step, in the order of training: each is answered `answers_per_prompt` times."""
    a = work.args
    n = a.steps * a.batch_size // a.answers_per_prompt
    return Dataset.from_list([{"prompt": work.train[i]["prompt"]} for i in data.order(work.train, n, a.seed)])

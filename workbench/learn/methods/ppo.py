"""PPO for language models: rollout, score, advantage, update, from top to bottom. The arithmetic is in losses.py.

After Ziegler et al. 2019 (lm-human-preferences), Huang et al. 2024 ("The N+ Implementation Details of RLHF with PPO")
and TRL's last PPOTrainer. All randomness comes from (seed, step, row): a resumed run needs no generator's state to draw
what the uninterrupted one drew.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from workbench.learn import data
from workbench.learn.catalogue.facts import Row
from workbench.learn.catalogue.ppo import PPOArgs
from workbench.learn.engine import adapter, evaluation, losses, roofline, saving
from workbench.learn.engine.actor_critic import ActorCritic, Rows
from workbench.learn.engine.adapter import POLICY
from workbench.learn.engine.distributed import ProcessGroup
from workbench.learn.engine.minibatches import Forward, Minibatches
from workbench.learn.engine.reporter import NOT_FINITE_IN_A_ROW, NotFinite
from workbench.learn.engine.work import Work
from workbench.learn.rewards.python_file import Reward
from workbench.learn.rewards.sources import build
from workbench.memory import give_memory_back
from workbench.models import generate
from workbench.models.llama import merges
from workbench.records import Sampling, how_many

MEANS = ("policy_loss", "value_loss", "clip_fraction", "entropy", "approx_kl")  # what `PPO.loss` returns
# Times the adapters' rate for the value's head: its bias has to find the rewards' level soon, its weights must not fit
# the few answers of one round (see docs/log.md).
BIAS_RATE, HEAD_RATE = 10.0, 0.1
SAME = 1e-9  # rewards closer than this are one and the same
TRIM_EVERY = 10  # steps
HORIZON = 10_000  # episodes over which the adaptive KL coefficient reacts (Ziegler et al. 2019)


@dataclass
class Batch:
    """Answers of one rollout, this process's, and all that is known of them: matrices are [rows, longest answer]."""

    prompts: list[str]
    texts: list[str]
    rows: Rows
    ended: Tensor  # [rows], 1 where the answer closed with an end token
    mask: Tensor
    minibatches: Minibatches
    scores: Tensor = field(default_factory=lambda: torch.empty(0))  # [rows], from the reward
    advantages: Tensor = field(default_factory=lambda: torch.empty(0))
    returns: Tensor = field(default_factory=lambda: torch.empty(0))


class PPO:
    """The state of a run: models, optimizer, KL coefficient. `iterate` is one step of it."""

    def __init__(self, actor: ActorCritic, reward: Reward, a: PPOArgs, group: ProcessGroup | None = None) -> None:
        """`a` as from `resolve`; `reward` gives one number per answer, higher is better; `group` shares the batch."""
        self.actor, self.reward, self.a, self.group = actor, reward, a, group or ProcessGroup()
        adapters = [w for name, w in actor.trainable.items() if not name.startswith("value_head.")]
        groups = [{"params": adapters, "times": 1.0}, {"params": [actor.head.weight], "times": HEAD_RATE}]
        groups.append({"params": [actor.head.bias], "times": BIAS_RATE})
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=a.weight_decay, fused=True)
        self.kl_coefficient = a.kl_coefficient
        # tokens sampled at once, prompts included; 0: as many as the memory that is free at the first rollout can hold
        self.rollout_tokens = 0
        self.notices: list[str] = []

    def iterate(self, prompts: Sequence[str], step: int) -> dict[str, float]:
        """Answer the prompts, score, learn: the figures of the step.

        Raises NotFinite: then no weight has changed, or from the second pass on, only by the passes before.
        """
        start = time.perf_counter()
        batch = self.rollout(prompts, step)
        rollout_end = time.perf_counter()
        self.score(batch)
        figures = self.estimate(batch)
        estimate_end = time.perf_counter()
        figures |= self.update(batch, step)
        figures |= {
            "seconds_generate": rollout_end - start,
            "seconds_score": estimate_end - rollout_end,
            "seconds_update": time.perf_counter() - estimate_end,
        }
        if self.a.kl_target:
            self.kl_coefficient = losses.adapt_kl_coefficient(
                self.kl_coefficient, figures["kl_train"], self.a.kl_target, len(prompts), HORIZON
            )
        # the same on all processes, since a resume gives all of them what the first one kept
        self.rollout_tokens = int(self.group.least(self.rollout_tokens))
        self.actor.rows_at_once = int(self.group.least(self.actor.rows_at_once))
        return figures

    # Rollout

    def rollout(self, prompts: Sequence[str], step: int) -> Batch:
        """One answer to each prompt, sampled from the policy as it stands."""
        a, model = self.a, self.actor.model
        sampling = Sampling(temperature=a.temperature, max_new_tokens=a.max_new_tokens, seed=a.seed)
        share = self.group.share(len(prompts))
        seeds = [data.row_seed(a.seed, step, row) for row in share]
        prompts = [prompts[row] for row in share]
        ids = [model.prompt_ids(p) for p in prompts]
        longest = max(map(len, ids)) + a.max_new_tokens
        if not self.rollout_tokens:
            self.rollout_tokens = generate.rows_that_fit(model, longest) * longest

        def sample_fewer(rows: int) -> None:
            self.rollout_tokens = min(self.rollout_tokens, rows * longest)

        answers = generate.generate(
            model,
            prompts,
            sampling,
            [POLICY] * len(prompts),
            should_stop=self.actor.alive,
            seeds=seeds,
            # an answer's last bits depend on how many are sampled with it, so that a resume must do as was done
            batch_size=max(1, min(generate.MOST_ROWS, self.rollout_tokens // longest)),
            on_halved=sample_fewer,
        )
        rows = Rows(ids, [answer.tokens for answer in answers])
        permutation = random.Random(f"{a.seed} {step}").sample(range(len(prompts)), len(prompts))
        size = len(prompts) // a.minibatches
        cut = [permutation[k * size : (k + 1) * size] for k in range(a.minibatches)]
        minibatches = Minibatches(self.actor, rows, cut, self.group, self.notices.append)
        ended = torch.tensor([float(answer.ended) for answer in answers])
        return Batch(prompts, [answer.text for answer in answers], rows, ended, rows.mask, minibatches)

    # Reward

    def score(self, batch: Batch) -> None:
        """Rewards; and under the policy before its update: log-probabilities, the reference's too, and values."""
        batch.scores = torch.tensor(self.reward(batch.prompts, batch.texts), dtype=torch.float32)
        batch.minibatches.score()

    # Advantage

    def estimate(self, batch: Batch) -> dict[str, float]:
        """Per-token rewards, advantages and returns; figures of the rollout, of all processes' answers."""
        a, whole, old = self.a, self.group.rows, batch.minibatches
        scores, ended, mask = whole(batch.scores), whole(batch.ended), whole(batch.mask)
        log_p, log_reference, values = whole(old.log_p), whole(old.log_reference), whole(old.values)
        check_finite(scores, log_reference)
        penalised = scores - a.end_penalty * (1 - ended)
        alike = len(scores) > 1 and float(penalised.max() - penalised.min()) < SAME
        if alike:
            # whitening would blow rounding errors up to unit size; without a difference there is nothing to learn from
            self.notices.append(
                f"All {len(scores)} answers got the same reward, {float(penalised[0]):.4g}: there is nothing to learn "
                "except to stay near the start. Check the reward."
            )
            penalised = torch.zeros_like(penalised)
        kl = losses.kl(log_p, log_reference, "k1").sum(1)  # both are 0 at padding
        rewards = losses.token_rewards(penalised, log_p, log_reference, mask, self.kl_coefficient, a.kl_estimator)
        if a.whiten_rewards == "on" and not alike:
            rewards = losses.whiten(rewards, mask, keep_mean=True)
        advantages, returns = losses.advantages(rewards, values, mask, a.gamma, a.lam)
        if not alike:
            advantages = losses.whiten(advantages, mask)
        batch.advantages, batch.returns = self.group.own(advantages, batch.mask), self.group.own(returns, batch.mask)
        (tokens,) = self.group.sum([torch.tensor(float(batch.rows.tokens))])
        return {
            "reward": float(scores.mean()),
            "reward_minus_kl": float(scores.mean()) - self.kl_coefficient * float(kl.mean()),
            "kl_train": float(kl.mean()),
            "kl_coefficient": self.kl_coefficient,
            "explained_variance": losses.explained_variance(values, returns, mask),
            "length": float(mask.sum(1).mean()),
            "longest": float(mask.shape[1]),
            "tokens": float(tokens),
            "ended": float(ended.mean()),
        }

    # Update

    def update(self, batch: Batch, step: int) -> dict[str, float]:
        """`epochs` passes over the batch, fewer when the policy has moved past `stop_kl` from where it sampled."""
        a, rate, passes = self.a, learning_rate(self.a, step), 0
        figures: dict[str, float] = {}
        for epoch in range(a.epochs):
            for minibatch in range(a.minibatches):
                means, ratio = batch.minibatches.gradients(minibatch, partial(self.loss, batch), first=not passes)
                norm = float(torch.nn.utils.clip_grad_norm_(list(self.actor.trainable.values()), a.max_grad_norm))
                figures = dict(zip(MEANS, means, strict=True))
                figures |= {"ratio_off": ratio, "grad_norm": norm, "learning_rate": rate}
                if a.stop_kl and figures["approx_kl"] > a.stop_kl:
                    return figures | {"epochs": float(epoch)}
                self.apply(rate, norm, passes)
                passes += 1
        return figures | {"epochs": passes / a.minibatches}

    def loss(self, batch: Batch, now: Forward) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss of a part of a minibatch, and the means that are reported (MEANS)."""
        a, before = self.a, batch.minibatches
        log_p, values = now.old(before.log_p), now.old(before.values)
        mask = torch.ones_like(log_p)  # only real tokens are here
        policy, clipped = losses.policy_loss(now.log_p, log_p, now.old(batch.advantages), mask, a.clip)
        value = losses.value_loss(now.values, values, now.old(batch.returns), mask, a.value_clip)
        distance = losses.kl(log_p, now.log_p.detach(), "k3").mean()
        return policy + a.value_coefficient * value, (policy, value, clipped, now.entropy.mean(), distance)

    def apply(self, rate: float, norm: float, passes: int) -> None:
        """One step of the optimizer. Raises NotFinite for a gradient that is none; `passes` were made before."""
        if not math.isfinite(norm):
            for weight in self.actor.trainable.values():
                weight.grad = None
            place = f" in pass {passes + 1}; updates of earlier passes are kept" if passes else ""
            raise NotFinite(f"the gradient is not a finite number{place}")
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["times"]
        self.optimizer.step()
        self.actor.changed()


def check_finite(scores: Tensor, log_reference: Tensor) -> None:
    """Raise NotFinite, with its cause, for rewards or a reference that are no finite numbers."""
    if not scores.isfinite().all():
        bad = int((~scores.isfinite()).sum())
        raise NotFinite(f"the reward of {bad} of {how_many(len(scores), 'answers')} is not a finite number", "reward")
    if not log_reference.isfinite().all():
        raise NotFinite("the model itself gives no finite probabilities", "model")


def learning_rate(a: PPOArgs, step: int) -> float:
    """The rate of step 1, 2, ...: rising over the warmup, then down to 0 by the schedule."""
    if a.learning_rate is None:
        raise ValueError("learning_rate is still open: resolve the settings first")
    warm = round(a.warmup * a.steps)
    if step <= warm:
        return a.learning_rate * step / warm
    share = (a.steps - step + 1) / max(1, a.steps - warm)
    if a.schedule == "constant":
        return a.learning_rate
    return a.learning_rate * (share if a.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * share))


def prompts_of(rows: Sequence[Row], a: PPOArgs) -> list[list[str]]:
    """The prompts of every step: all of them once per round, in random order."""
    order = data.order(rows, a.steps * a.batch_size, a.seed)
    texts = [rows[i]["prompt"] for i in order]
    return [texts[k : k + a.batch_size] for k in range(0, len(texts), a.batch_size)]


# The job


def train(work: Work) -> dict[str, Any]:
    """Train `work.peft` on the prompts of `work.train`; return the run's result."""
    a, report, group = work.args, work.report, ProcessGroup(work.report.patience)
    first = group.rank == 0  # it alone looks at held-out prompts and writes
    if merges(work.model.hf) and work.model.device.type == "cpu":
        torch.set_num_threads(1)  # a small model's products are not worth sharing; the update shares whole chunks
    actor = ActorCritic(work.model, work.start, a.temperature, a.micro_batch, alive=work.alive)
    reward = work.patiently(build(a.reward, work.folder.parent, work.model, actor))
    actor.claim()
    ppo = PPO(actor, reward, a, group)
    work.frozen = adapter.frozen_hash(work.peft)  # with the reward model's adapter
    machine = roofline.probe(work.model.device, actor.dtype, actor.workers)
    if work.resume_from is not None:
        load_checkpoint(ppo, work.resume_from)
    elif first:
        evaluation.evaluate(work, 0)
    report.status(state="running", step=work.first_step, steps=a.steps, message="")
    prompts, rejected, start = prompts_of(work.train, a), 0, time.monotonic()
    for step in range(work.first_step + 1, a.steps + 1):
        step_start = time.monotonic()
        try:
            figures = ppo.iterate(prompts[step - 1], step)
            rejected = 0
            report.metrics(step, **figures, **limits(ppo, machine, figures))
            if first:
                print(f"step {step}  reward {figures['reward']:.4f}  KL {figures['kl_train']:.3f}", flush=True)
        except NotFinite as error:
            rejected += 1
            report.metrics(step, rejected=True)
            report.notice(f"Step {step} was not finished: {error}.")
            if rejected >= NOT_FINITE_IN_A_ROW:
                raise NotFinite(f"{error}, {rejected} steps in a row", error.cause) from error
        for text in dict.fromkeys(ppo.notices):
            report.notice(f"Step {step}: {text}")
        ppo.notices.clear()
        report.alive()
        work.trained_for += time.monotonic() - step_start
        per_step = (time.monotonic() - start) / (step - work.first_step)
        (requests,) = group.sum([torch.tensor(float(first and report.wants_stop()))])
        last, stopping = step == a.steps, bool(requests)
        report.status(now=last, step=step, steps=a.steps, eta_s=round(per_step * (a.steps - step), 1))
        if first and (last or stopping or step % a.evaluate_every == 0):
            evaluation.evaluate(work, step)
            actor.claim()
        if first and (last or stopping or step % a.checkpoint_every == 0):
            save_checkpoint(ppo, work, step)
        if step % TRIM_EVERY == 0:
            give_memory_back()
        if stopping:
            break
    result = evaluation.finish(work) if first else {}
    group.leave()
    return result


def limits(ppo: PPO, machine: roofline.Machine, figures: dict[str, float]) -> dict[str, float]:
    """Shares of the time in which this machine could do the same at best, for each phase that computes. Of several
    processes each does its part."""
    actor, a = ppo.actor, ppo.a
    weights = sum(p.numel() for name, p in actor.model.peft.named_parameters() if "lora_" not in name)
    sampled_tokens = figures["length"] * a.batch_size / ppo.group.size
    read_tokens = figures["tokens"] / ppo.group.size
    return {
        "limit_generate": machine.decode(int(figures["longest"]), int(sampled_tokens), weights, actor.dtype.itemsize)
        / figures["seconds_generate"],
        "limit_update": machine.learn(int(read_tokens * figures["epochs"]), weights) / figures["seconds_update"],
    }


def save_checkpoint(ppo: PPO, work: Work, step: int) -> None:
    """The format of checkpoints.py: no pickle. What is random is drawn from (seed, step) and needs no saving."""
    tensors = {f"head.{name}": weight for name, weight in ppo.actor.head.state_dict().items()}
    for i, state in ppo.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{key}": torch.as_tensor(value) for key, value in state.items()}
    progress = {
        "kl_coefficient": ppo.kl_coefficient,
        "rows_at_once": ppo.actor.rows_at_once,
        "rollout_tokens": ppo.rollout_tokens,
    }
    saving.save_checkpoint(work, step, tensors, progress)


def load_checkpoint(ppo: PPO, folder: Path) -> None:
    """Go on exactly where `save_checkpoint` left off."""
    from peft import set_peft_model_state_dict

    actor = ppo.actor
    weights = load_file(folder / "adapter" / "adapter_model.safetensors")
    set_peft_model_state_dict(actor.model.peft, weights, adapter_name=POLICY)
    tensors = load_file(folder / "optimizer.safetensors")
    actor.head.load_state_dict({k.removeprefix("head."): v for k, v in tensors.items() if k.startswith("head.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, i, key = name.split(".")
            state.setdefault(int(i), {})[key] = tensor
    ppo.optimizer.load_state_dict({"state": state, "param_groups": ppo.optimizer.state_dict()["param_groups"]})
    record = json.loads((folder / "state.json").read_text("utf-8"))
    ppo.kl_coefficient, actor.rows_at_once = record["kl_coefficient"], record["rows_at_once"]
    ppo.rollout_tokens = record.get("rollout_tokens", 0)  # older checkpoints do not say
    actor.changed()
    actor.claim()

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
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from workbench.learn import data
from workbench.learn.catalogue.ppo import PPOArgs
from workbench.learn.engine import adapter, checkpoints, evaluation, losses, roofline
from workbench.learn.engine.actor_critic import ActorCritic, Chunk, Rows, at_tokens, to_matrix
from workbench.learn.engine.adapter import POLICY
from workbench.learn.engine.distributed import ProcessGroup
from workbench.learn.engine.reporter import NOT_FINITE_IN_A_ROW, NotFinite
from workbench.learn.engine.work import Work
from workbench.learn.rewards.sources import Reward, build
from workbench.memory import give_memory_back
from workbench.models import generate
from workbench.models.llama import merges
from workbench.records import Sampling

# Times the adapters' rate for the value's head: its bias has to find the rewards' level soon, its weights must not fit
# the few answers of one round (see docs/log.md).
BIAS_RATE, HEAD_RATE = 10.0, 0.1
SAME = 1e-9  # rewards closer than this are one and the same
TRIM_EVERY = 10  # steps
HORIZON = 10_000  # episodes over which the adaptive KL coefficient reacts (Ziegler et al. 2019)


@dataclass
class Batch:
    """Answers of one rollout and all that is known of them: matrices are [rows, longest answer], 0 at padding."""

    prompts: list[str]
    texts: list[str]
    rows: Rows
    ended: Tensor  # [rows], whether the answer closed with an end token
    groups: list[list[Chunk]]  # minibatches, each in chunks that run at once
    mask: Tensor
    scores: Tensor = field(default_factory=lambda: torch.empty(0))  # [rows], from the reward
    log_p: Tensor = field(default_factory=lambda: torch.empty(0))
    log_reference: Tensor = field(default_factory=lambda: torch.empty(0))
    values: Tensor = field(default_factory=lambda: torch.empty(0))
    advantages: Tensor = field(default_factory=lambda: torch.empty(0))
    returns: Tensor = field(default_factory=lambda: torch.empty(0))
    # by a chunk's rows: log-probabilities, entropies and values, with their graph, for the first pass to go on from
    forward: dict[tuple[int, ...], tuple[Tensor, ...]] = field(default_factory=dict)

    @property
    def chunks(self) -> list[Chunk]:
        return [chunk for group in self.groups for chunk in group]


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
        self.notices: list[str] = []

    def iterate(self, prompts: Sequence[str], step: int) -> dict[str, float]:
        """Answer the prompts, score, learn: what is told of the step. Raises NotFinite and leaves the weights alone."""
        began = time.perf_counter()
        batch = self.rollout(prompts, step)
        generated = time.perf_counter()
        self.score(batch)
        told = self.estimate(batch)
        scored = time.perf_counter()
        told |= self.update(batch, step)
        told |= {
            "seconds_generate": generated - began,
            "seconds_score": scored - generated,
            "seconds_update": time.perf_counter() - scored,
        }
        if self.a.kl_target:
            self.kl_coefficient = losses.adapt_kl_coefficient(
                self.kl_coefficient, told["kl_train"], self.a.kl_target, len(prompts), HORIZON
            )
        return told

    # Rollout

    def rollout(self, prompts: Sequence[str], step: int) -> Batch:
        """One answer to each prompt, sampled from the policy as it stands."""
        a, model = self.a, self.actor.model
        sampling = Sampling(temperature=a.temperature, max_new_tokens=a.max_new_tokens, seed=a.seed)
        mine = self.group.share(len(prompts))
        seeds = [generate.round_seed(a.seed, step, row) for row in mine]
        prompts = [prompts[row] for row in mine]
        found = generate.generate(model, prompts, sampling, adapters=[POLICY] * len(prompts), seeds=seeds)
        rows = Rows([model.prompt_ids(p) for p in prompts], [g.tokens for g in found])
        shuffled = random.Random(f"{a.seed} {step}").sample(range(len(prompts)), len(prompts))
        size = len(prompts) // a.minibatches
        # a minibatch keeps its rows through all epochs, so that its first pass repeats the scoring pass bit by bit
        groups = [self.actor.chunks(rows, shuffled[k * size : (k + 1) * size]) for k in range(a.minibatches)]
        ended = torch.tensor([g.ended for g in found])
        return Batch(list(prompts), [g.text for g in found], rows, ended, groups, rows.mask)

    # Reward

    def score(self, batch: Batch) -> None:
        """Rewards, and under the policy before its update: log-probabilities, the reference's too, and values.

        The rollout's own log-probabilities are not used: they come from a decoder that reads one token at a time and
        differ in the last bits, and the ratio of the first pass must be exactly 1. Where the whole batch may be in
        memory at once, the first pass goes on from this forward pass instead of repeating it.
        """
        actor, rows = self.actor, batch.rows
        if not len(batch.scores):
            batch.scores = torch.tensor(self.reward(batch.prompts, batch.texts), dtype=torch.float32)

        def fits() -> bool:  # until memory has shown that it does not
            return len(batch.groups) == 1 and len(rows) <= actor.rows_at_once

        def both(chunk: Chunk) -> tuple[Tensor, ...]:
            with torch.set_grad_enabled(fits()):  # here, since it holds for a thread
                own = actor.policy_and_value(chunk)
            return *own, actor.reference_log_prob(chunk)

        parts = self._in_memory(batch, both)
        batch.forward = {c.rows: p[:3] for c, p in zip(batch.chunks, parts, strict=True)} if fits() else {}
        columns = [to_matrix(rows, batch.chunks, [part[k] for part in parts]) for k in (0, 3, 2)]
        batch.log_p, batch.log_reference, batch.values = columns

    def _in_memory(self, batch: Batch, work: Any) -> list[Any]:
        """`work` on every chunk; out of memory halves the chunks and begins again: the batch stays what it is."""
        while True:
            try:
                return self.actor.map(work, batch.chunks)
            except (RuntimeError, MemoryError) as error:
                self._halve(batch, error)

    def _halve(self, batch: Batch, error: BaseException) -> None:
        if not generate.out_of_memory(error):
            raise error
        self.actor.smaller()
        self.notices.append(f"Out of memory: from now on {self.actor.rows_at_once} answers run at once.")
        whole = [[i for chunk in group for i in chunk.rows] for group in batch.groups]
        batch.groups = [self.actor.chunks(batch.rows, chosen) for chosen in whole]

    # Advantage

    def estimate(self, batch: Batch) -> dict[str, float]:
        """Per-token rewards, advantages and returns; what is told of the rollout, of all processes' answers."""
        a, every = self.a, self.group.rows
        scores, ended, mask = every(batch.scores), every(batch.ended.float()), every(batch.mask)
        log_p, log_reference, values = every(batch.log_p), every(batch.log_reference), every(batch.values)
        if not scores.isfinite().all():
            bad = int((~scores.isfinite()).sum())
            raise NotFinite(f"the reward of {bad} of {len(scores)} answers is no finite number")
        told = {"reward": float(scores.mean())}
        if len(scores) > 1 and float(scores.max() - scores.min()) < SAME:
            # whitening would blow rounding errors up to unit size; without a difference there is nothing to learn from
            self.notices.append(
                f"All {len(scores)} answers got the same reward, {float(scores[0]):.4g}: there is nothing to learn from "
                "but to stay near the start. Check the reward."
            )
            scores = torch.zeros_like(scores)
            whiten = False
        else:
            scores = scores - a.end_penalty * (1 - ended)
            whiten = True
        kl = losses.kl(log_p, log_reference, "k1").sum(1)  # both are 0 at padding
        rewards = losses.token_rewards(scores, log_p, log_reference, mask, self.kl_coefficient, a.kl_estimator)
        if a.whiten_rewards == "on" and whiten:
            rewards = losses.whiten(rewards, mask, keep_mean=True)
        advantages, returns = losses.advantages(rewards, values, mask, a.gamma, a.lam)
        if whiten:
            advantages = losses.whiten(advantages, mask)
        mine, width = self.group.share(len(scores)), batch.mask.shape[1]
        own = slice(mine.start, mine.stop)
        batch.advantages, batch.returns = advantages[own, :width], returns[own, :width]
        return told | {
            "reward_minus_kl": told["reward"] - self.kl_coefficient * float(kl.mean()),
            "kl_train": float(kl.mean()),
            "kl_coefficient": self.kl_coefficient,
            "explained_variance": losses.explained_variance(values, returns, mask),
            "length": float(mask.sum(1).mean()),
            "longest": float(mask.shape[1]),
            "tokens": float(batch.rows.tokens),
            "ended": float(ended.mean()),
        }

    # Update

    def update(self, batch: Batch, step: int) -> dict[str, float]:
        """`epochs` passes over the batch, fewer when the policy has moved past `stop_kl` from where it sampled."""
        a, rate = self.a, learning_rate(self.a, step)
        told: dict[str, float] = {}
        passes = 0
        for epoch in range(a.epochs):
            for number in range(a.minibatches):
                if not told:
                    told, norm = self._first_pass(batch)
                else:
                    told, norm = self._pass(batch, number)
                if a.stop_kl and told["approx_kl"] > a.stop_kl:
                    return told | {"epochs": float(epoch), "grad_norm": norm, "learning_rate": rate}
                self._step(rate, norm)
                passes += 1
        return told | {"epochs": passes / a.minibatches, "grad_norm": norm, "learning_rate": rate}

    def _first_pass(self, batch: Batch) -> tuple[dict[str, float], float]:
        told, norm = self._pass(batch, 0)
        if told["ratio_off"] != 0:
            raise RuntimeError(
                f"before the first update the policy differs from itself: some log-ratio is {told['ratio_off']:.3g} "
                "instead of 0, so something random or stateful is in the model's forward"
            )
        return told, norm

    def _pass(self, batch: Batch, number: int) -> tuple[dict[str, float], float]:
        """Gradients of one minibatch, summed over its chunks into `.grad`; means of its losses, and the gradient's norm."""
        while True:
            try:
                return self._gradients(batch, batch.groups[number])
            except (RuntimeError, MemoryError) as error:
                self._halve(batch, error)
            self.score(batch)  # in the new chunks, so that the policy is compared with itself bit by bit

    def _gradients(self, batch: Batch, group: list[Chunk]) -> tuple[dict[str, float], float]:
        a, rows, actor = self.a, batch.rows, self.actor
        weights = list(actor.trainable.values())
        actor.check_trainable()
        (counted,) = self.group.sum([torch.tensor(float(sum(len(chunk.wanted) for chunk in group)))])
        total = float(counted)
        forward, batch.forward = batch.forward, {}  # it holds for the weights as they are now

        def one(chunk: Chunk) -> tuple[tuple[Tensor, ...], Tensor, float]:
            log_p, entropy, values = forward.pop(chunk.rows, None) or actor.policy_and_value(chunk)
            old, old_values, advantages, returns = (
                at_tokens(rows, chunk, matrix)[None]
                for matrix in (batch.log_p, batch.values, batch.advantages, batch.returns)
            )
            every = torch.ones_like(old)  # only real tokens are here
            policy, clipped = losses.policy_loss(log_p[None], old, advantages, every, a.clip)
            value = losses.value_loss(values[None], old_values, returns, every, a.value_clip)
            share = len(chunk.wanted) / total  # a mean over the minibatch's tokens, however it is cut up
            found = torch.autograd.grad((policy + a.value_coefficient * value) * share, weights)
            away = losses.kl(old, log_p.detach()[None], "k3").mean()
            off = float((log_p.detach() - old[0]).abs().max())
            return found, torch.stack([policy, value, clipped, entropy.mean(), away]).detach() * share, off

        parts = actor.map(one, group)
        summed = [torch.stack([part[0][k] for part in parts]).sum(0) for k in range(len(weights))]
        *gradients, means = self.group.sum([*summed, torch.stack([part[1] for part in parts]).sum(0)])
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        sums = means.tolist()
        norm = float(torch.nn.utils.clip_grad_norm_(weights, a.max_grad_norm))
        names = ("policy_loss", "value_loss", "clip_fraction", "entropy", "approx_kl")
        return dict(zip(names, sums, strict=True)) | {"ratio_off": max(part[2] for part in parts)}, norm

    def _step(self, rate: float, norm: float) -> None:
        if not math.isfinite(norm):
            for weight in self.actor.trainable.values():
                weight.grad = None
            raise NotFinite("the gradient is no finite number")
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["times"]
        self.optimizer.step()
        self.actor.changed()


def learning_rate(a: PPOArgs, step: int) -> float:
    """The rate of step 1, 2, ...: rising over the warmup, then down to 0 by the schedule."""
    if a.learning_rate is None:
        raise ValueError("learning_rate is still open: resolve the settings first")
    warm = round(a.warmup * a.steps)
    if step <= warm:
        return a.learning_rate * step / warm
    left = (a.steps - step + 1) / max(1, a.steps - warm)
    if a.schedule == "constant":
        return a.learning_rate
    return a.learning_rate * (left if a.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * left))


def prompts_of(rows: Sequence[data.Row], a: PPOArgs) -> list[list[str]]:
    """The prompts of every step: all of them once per round, in random order."""
    order = data.order(rows, a.steps * a.batch_size, a.seed)
    texts = [rows[i]["prompt"] for i in order]
    return [texts[k : k + a.batch_size] for k in range(0, len(texts), a.batch_size)]


# The job


def train(work: Work) -> dict[str, Any]:
    """Train `work.peft` on the prompts of `work.train`; return the run's result."""
    a, report, group = work.args, work.report, ProcessGroup()
    first = group.rank == 0  # it alone looks at held-out prompts and writes
    if merges(work.model.hf) and work.model.device.type == "cpu":
        torch.set_num_threads(1)  # a small model's products are not worth sharing; the update shares whole chunks
    actor = ActorCritic(work.model, work.start, a.temperature, a.micro_batch)
    reward = build(a.reward, work.folder.parent, work.model, actor)
    actor.claim()
    ppo = PPO(actor, reward, a, group)
    work.frozen = adapter.frozen_hash(work.peft)  # with the reward model's adapter
    machine = roofline.probe(work.model.device, actor.dtype, actor.workers)
    if work.resume_from is not None:
        load_checkpoint(ppo, work.resume_from)
    elif first:
        evaluation.evaluate(work, 0, nothing_more)
    report.status(state="running", step=work.first_step, steps=a.steps, message="")
    prompts, rejected, began = prompts_of(work.train, a), 0, time.monotonic()
    for step in range(work.first_step + 1, a.steps + 1):
        started = time.monotonic()
        try:
            told = ppo.iterate(prompts[step - 1], step)
            rejected = 0
            report.metrics(step, **told, **limits(ppo, machine, told))
            if first:
                print(f"step {step}  reward {told['reward']:.4f}  KL {told['kl_train']:.3f}", flush=True)
        except NotFinite as error:
            rejected += 1
            report.metrics(step, rejected=True)
            report.notice(f"Step {step} was skipped: {error}.")
            if rejected >= NOT_FINITE_IN_A_ROW:
                raise NotFinite(f"{error}, {rejected} steps in a row") from error
        for text in dict.fromkeys(ppo.notices):
            report.notice(f"Step {step}: {text}")
        ppo.notices.clear()
        report.alive()
        work.trained_for += time.monotonic() - started
        per_step = (time.monotonic() - began) / (step - work.first_step)
        (asked,) = group.sum([torch.tensor(float(first and report.wants_stop()))])
        last, stopping = step == a.steps, bool(asked)
        report.status(now=last, step=step, steps=a.steps, eta_s=round(per_step * (a.steps - step), 1))
        if first and (last or stopping or step % a.evaluate_every == 0):
            evaluation.evaluate(work, step, nothing_more)
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


def nothing_more(work: Work, step: int) -> dict[str, Any]:
    return {}


def limits(ppo: PPO, machine: roofline.Machine, told: dict[str, float]) -> dict[str, float]:
    """Shares of the time in which this machine could do the same at best, for each phase that computes."""
    actor, a = ppo.actor, ppo.a
    weights = sum(p.numel() for name, p in actor.model.peft.named_parameters() if "lora_" not in name)
    answered = told["length"] * a.batch_size
    read = told["tokens"]
    return {
        "limit_generate": machine.decode(int(told["longest"]), int(answered), weights, actor.dtype.itemsize)
        / told["seconds_generate"],
        "limit_update": machine.learn(int(read * told["epochs"]), weights) / told["seconds_update"],
    }


def save_checkpoint(ppo: PPO, work: Work, step: int) -> None:
    """The format of checkpoints.py: no pickle. What is random is drawn from (seed, step) and needs no saving."""
    tensors = {f"head.{name}": weight for name, weight in ppo.actor.head.state_dict().items()}
    for i, state in ppo.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{key}": torch.as_tensor(value) for key, value in state.items()}
    kept = {
        "trained_for": work.trained_for,
        "kl_coefficient": ppo.kl_coefficient,
        "rows_at_once": ppo.actor.rows_at_once,
    }

    def write(fresh: Path) -> None:
        adapter.save_adapter(work.peft, fresh / "adapter", work.config.model)

    checkpoints.save(work.folder / "checkpoints", step, tensors, kept, write)


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
    kept = json.loads((folder / "state.json").read_text("utf-8"))
    ppo.kl_coefficient, actor.rows_at_once = kept["kl_coefficient"], kept["rows_at_once"]
    actor.changed()
    actor.claim()

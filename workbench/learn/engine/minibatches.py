"""A rollout's answers in minibatches, cut into chunks that fit into memory: scored, then turned into gradients.

However they are cut, the gradient is the one of the whole minibatch, over the answers of all processes. Where the whole
batch may be in memory at once, the first pass goes on from the forward pass that scored instead of repeating it. The
rollout's own log-probabilities are not used: they come from a decoder that reads one token at a time and differ in the
last bits, and the ratio of the first pass must be exactly 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from workbench.learn.engine.actor_critic import ActorCritic, Chunk, Rows, at_tokens, to_matrix
from workbench.learn.engine.distributed import ProcessGroup
from workbench.models import generate
from workbench.records import how_many


@dataclass(frozen=True)
class Forward:
    """What the policy says now at N answer tokens, each [1, N], with gradients; `old` picks the same tokens of a matrix
    [rows, longest answer]."""

    log_p: Tensor
    entropy: Tensor
    values: Tensor
    old: Callable[[Tensor], Tensor]


# of a minibatch's part: the loss, a mean over its tokens, and further means to be told
Loss = Callable[[Forward], tuple[Tensor, Sequence[Tensor]]]


class Minibatches:
    """Answers in minibatches. `log_p`, `log_reference` and `values`, [rows, longest answer] and 0 at padding, are what
    the policy, the reference and the value said of them before the first update, once `score` has run."""

    log_p: Tensor
    log_reference: Tensor
    values: Tensor

    def __init__(
        self,
        actor: ActorCritic,
        rows: Rows,
        minibatches: Sequence[Sequence[int]],
        group: ProcessGroup,
        notice: Callable[[str], object],
    ) -> None:
        self.actor, self.rows, self.group, self.notice = actor, rows, group, notice
        # a minibatch keeps its rows through all epochs, so that its first pass repeats the scoring pass bit by bit
        self.minibatches = minibatches
        counts = [float(sum(len(rows.answers[i]) for i in minibatch)) for minibatch in minibatches]
        # of all processes, and counted once: a retry on one process must not ask the others again
        self.tokens = group.sum([torch.tensor(counts)])[0].tolist()
        self.graph: dict[tuple[int, ...], tuple[Tensor, ...]] = {}  # of the scoring pass, by a chunk's rows
        self._cut()

    def _cut(self) -> None:
        self.groups = [self.actor.chunks(self.rows, minibatch) for minibatch in self.minibatches]

    def score(self) -> None:
        """Set `log_p`, `log_reference` and `values`."""
        actor = self.actor

        def one(chunk: Chunk) -> tuple[Tensor, ...]:
            with torch.set_grad_enabled(self._whole):  # here, since it holds for a thread
                own = actor.policy_and_value(chunk)
            return *own, actor.reference_log_prob(chunk)

        while True:
            chunks = [chunk for group in self.groups for chunk in group]
            try:
                parts = actor.map(one, chunks)
                break
            except (RuntimeError, MemoryError) as error:
                self._halve(error)
        self.graph = {c.rows: part[:3] for c, part in zip(chunks, parts, strict=True)} if self._whole else {}
        columns = [to_matrix(self.rows, chunks, [part[k] for part in parts]) for k in (0, 3, 2)]
        self.log_p, self.log_reference, self.values = columns

    @property
    def _whole(self) -> bool:
        """Whether the whole batch may be in memory at once, until memory has shown that it may not."""
        return len(self.groups) == 1 and len(self.rows) <= self.actor.rows_at_once

    def gradients(self, number: int, loss: Loss, first: bool) -> tuple[list[float], float]:
        """Leave the gradients of a minibatch's loss in `.grad`; the means the loss tells, and the largest |log-ratio|.

        `first`: nothing has been learned from this batch yet. Then every log-ratio must be 0; else RuntimeError.
        """
        weights = list(self.actor.trainable.values())
        self.actor.check_trainable()
        parts = self._parts(number, loss, first)
        ratio = self.group.greatest(max(part[2] for part in parts))
        if first and ratio != 0:
            raise RuntimeError(
                f"before the first update the policy differs from itself: some log-ratio is {ratio:.3g} instead of 0, "
                "so something random or stateful is in the model's forward"
            )
        summed = [torch.stack([part[0][k] for part in parts]).sum(0) for k in range(len(weights))]
        *gradients, means = self.group.sum([*summed, torch.stack([part[1] for part in parts]).sum(0)])
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        return means.tolist(), ratio

    def _parts(self, number: int, loss: Loss, first: bool) -> list[tuple[tuple[Tensor, ...], Tensor, float]]:
        while True:
            graph, self.graph = self.graph, {}  # it holds for the weights as they are now
            try:
                return self.actor.map(partial(self._part, loss, self.tokens[number], graph), self.groups[number])
            except (RuntimeError, MemoryError) as error:
                self._halve(error)
            if first:
                self.score()  # in the new chunks, so that the policy is compared with itself bit by bit

    def _part(
        self, loss: Loss, total: float, graph: dict[tuple[int, ...], tuple[Tensor, ...]], chunk: Chunk
    ) -> tuple[tuple[Tensor, ...], Tensor, float]:
        """Gradients of one chunk's share of the loss, its shares of the means, and its largest |log-ratio|."""
        log_p, entropy, values = graph.pop(chunk.rows, None) or self.actor.policy_and_value(chunk)

        def old(matrix: Tensor) -> Tensor:
            return at_tokens(self.rows, chunk, matrix)[None]

        value, means = loss(Forward(log_p[None], entropy[None], values[None], old))
        share = len(chunk.targets) / total  # a mean over the minibatch's tokens, however it is cut up
        gradients = torch.autograd.grad(value * share, list(self.actor.trainable.values()))
        ratio = float((log_p.detach() - old(self.log_p)[0]).abs().max())
        return gradients, torch.stack(list(means)).detach() * share, ratio

    def _halve(self, error: BaseException) -> None:
        """Cut all minibatches into chunks half as large: they stay what they are. Raises `error` if it is another one."""
        if not generate.out_of_memory(error):
            raise error
        self.actor.smaller()
        self.notice(f"Out of memory: from now on, {how_many(self.actor.rows_at_once, 'answers')} at once.")
        self._cut()

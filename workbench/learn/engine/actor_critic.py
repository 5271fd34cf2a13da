"""Policy, reference, reward and value on one frozen base: adapters and heads on it, run in small batches.

The policy is the adapter that is trained; the reference is the base, or a frozen adapter; the value is a linear head
on the policy's own last hidden state (an adapter of its own brought nothing, docs/log.md). `Rows` are answers with
their prompts; everything the arithmetic of losses.py needs comes back as [rows, longest answer].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench import settings
from workbench.learn.engine.through_transformers import ThroughTransformers, output_layer
from workbench.models import Model, decoders, llama

T = TypeVar("T")
POLICY = "default"  # name of the trained adapter
CHUNKS_PER_WORKER = 2  # a worker that has finished takes over from one that has not
LEAST_ROWS = 16  # in a chunk, if every worker gets one: eight take almost as long
ALIKE = 8  # lengths are padded to a multiple of this on a CPU, where every new shape of a product has to be prepared


@dataclass(frozen=True)
class Rows:
    """Prompts and answers as token ids; an answer holds its end token if it has one, and at least one token."""

    prompts: list[list[int]]
    answers: list[list[int]]

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def mask(self) -> Tensor:
        """[rows, longest answer]: 1 at an answer's tokens."""
        lengths = torch.tensor([len(a) for a in self.answers])
        return (torch.arange(int(lengths.max()))[None] < lengths[:, None]).float()

    @property
    def tokens(self) -> int:
        """Prompt and answer tokens, all rows together."""
        return sum(map(len, self.prompts)) + sum(map(len, self.answers))


@dataclass(frozen=True)
class Chunk:
    """Rows that run together, `ids` [rows, T]; `where` says which places are no padding. `at` [2, N] are (row, position)
    of the N places that foresaw an answer's token, in order of rows; `targets` [N] those tokens; `last` the position of
    each row's last token."""

    rows: tuple[int, ...]
    ids: Tensor
    where: Tensor
    at: Tensor
    targets: Tensor
    last: Tensor


class ActorCritic:
    """The models of PPO on `model`'s one base.

    model: with the policy's adapter (and the reference's) adopted; reference: name of a frozen adapter, None = base;
    temperature: every logit is divided by it; rows_at_once: most rows that run together, halved by `smaller` when
    memory does not suffice; alive: a sign of life, called after every chunk.
    """

    def __init__(
        self,
        model: Model,
        reference: str | None = None,
        temperature: float = 1.0,
        rows_at_once: int = 64,
        dtype: torch.dtype | None = None,
        workers: int | None = None,
        alive: Callable[[], bool] = lambda: False,
    ) -> None:
        self.alive = alive
        self.model, self.reference, self.temperature = model, reference, temperature
        self.rows_at_once = rows_at_once
        self.reason = llama.why_not(model.hf)
        self.dtype = dtype or llama.number_format(model.device.type).value
        if self.reason is None:
            llama.settle(model.hf, self.dtype)
        threads = workers or settings.threads().value
        # products of a few hundred rows are too small to be shared by threads; whole chunks are not
        self.workers = threads if self.reason is None and model.device.type == "cpu" else 1
        self.pool = ThreadPoolExecutor(self.workers, initializer=torch.set_num_threads, initargs=(1,))
        self.head = nn.Linear(decoders.hidden_width(model.hf), 1, device=model.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        model.peft.eval()  # no dropout: the ratio of the first pass must be 1
        self.output = None if self.reason is None else output_layer(model)  # the hand-written forward has its own
        self.engines: dict[str | None, llama.Llama | ThroughTransformers] = {}
        self.trainable: dict[str, Tensor] = {}
        self.claim()

    def claim(self) -> None:
        """Make the policy's adapter and the value's head trainable and nothing else: again after attaching an adapter."""
        weights: dict[str, Tensor] = {}
        for name, weight in self.model.peft.named_parameters():
            weight.requires_grad_("lora_" in name and f".{POLICY}." in name)
            if weight.requires_grad:
                weights[name] = weight
        self.trainable = weights | {"value_head.weight": self.head.weight, "value_head.bias": self.head.bias}

    def check_trainable(self) -> None:
        """Raise RuntimeError unless exactly the policy's adapter can be trained, beside the value's head.

        PEFT turns gradients on and off as adapters are switched and loaded (peft #3447, #3580).
        """
        actual = {name for name, weight in self.model.peft.named_parameters() if weight.requires_grad}
        expected = {name for name in self.trainable if not name.startswith("value_head.")}
        if actual != expected:
            raise RuntimeError(
                f"the wrong weights are trainable: {len(actual - expected)} too many ({', '.join(sorted(actual - expected)[:3])}), "
                f"{len(expected - actual)} missing ({', '.join(sorted(expected - actual)[:3])})"
            )

    def engine(self, adapter: str | None) -> llama.Llama | ThroughTransformers:
        """What runs the base with that adapter; kept until `changed`."""
        if adapter not in self.engines:
            self.engines[adapter] = (
                llama.Llama(self.model.hf, adapter, self.dtype)
                if self.reason is None
                else ThroughTransformers(self.model, adapter, self.output)
            )
        return self.engines[adapter]

    def changed(self) -> None:
        """The policy's adapter has new values."""
        self.engines.pop(POLICY, None)

    def chunks(self, rows: Rows, indices: Sequence[int]) -> list[Chunk]:
        """The rows at `indices` in batches that run at once.

        A Llama skips padding, so each batch gets long and short rows alike and takes as long as the others; elsewhere
        rows of like length stand together.
        """
        order = sorted(indices, key=lambda i: -len(rows.prompts[i]) - len(rows.answers[i]))
        count = self.workers * CHUNKS_PER_WORKER if self.workers > 1 else 1
        least = min(LEAST_ROWS, -(-len(order) // self.workers))
        size = max(1, min(self.rows_at_once, max(least, -(-len(order) // count))))
        n = -(-len(order) // size)
        shares = [order[k::n] if self.reason is None else order[k * size : (k + 1) * size] for k in range(n)]
        return [self._chunk(rows, tuple(share)) for share in shares]

    def _chunk(self, rows: Rows, indices: tuple[int, ...]) -> Chunk:
        device = self.model.device
        sequences = [torch.tensor(rows.prompts[i] + rows.answers[i]) for i in indices]
        row = [k for k, i in enumerate(indices) for _ in rows.answers[i]]
        place = [len(rows.prompts[i]) - 1 + t for i in indices for t in range(len(rows.answers[i]))]
        ids = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
        if self.reason is None and device.type == "cpu":
            ids = F.pad(ids, (0, -ids.shape[1] % ALIKE))
        mask = torch.arange(ids.shape[1])[None] < torch.tensor([len(s) for s in sequences])[:, None]
        return Chunk(
            indices,
            ids.to(device),
            llama.packed(mask).to(device),
            torch.tensor([row, place], device=device),
            torch.tensor([token for i in indices for token in rows.answers[i]], device=device),
            torch.tensor([len(s) - 1 for s in sequences], device=device),
        )

    def map(self, work: Callable[[Chunk], T], chunks: Sequence[Chunk]) -> list[T]:
        """`work` on every chunk, in order; on a CPU several at a time."""
        for adapter in (POLICY, self.reference):
            self.engine(adapter)  # made here, since workers would each make their own

        def one(chunk: Chunk) -> T:
            result = work(chunk)
            self.alive()
            return result

        if self.workers == 1 or len(chunks) == 1:
            return [one(chunk) for chunk in chunks]
        return list(self.pool.map(one, chunks))

    def smaller(self) -> None:
        """Halve what runs together. Raises MemoryError when a single row is too much."""
        if self.rows_at_once == 1:
            raise MemoryError("not even one answer fits into memory: ask for fewer new tokens")
        self.rows_at_once = (self.rows_at_once + 1) // 2

    def policy_and_value(self, chunk: Chunk) -> tuple[Tensor, Tensor, Tensor]:
        """log-probabilities, entropies and values, each [N], at the chunk's answer tokens."""
        log_p, entropy, hidden = self._read(POLICY, chunk)
        return log_p, entropy, self.head(hidden)[:, 0]

    @torch.no_grad()
    def reference_log_prob(self, chunk: Chunk) -> Tensor:
        """The reference's log-probabilities [N], at the same temperature."""
        return self._read(self.reference, chunk)[0]

    def _read(self, adapter: str | None, chunk: Chunk) -> tuple[Tensor, Tensor, Tensor]:
        """log-probabilities [N], entropies [N] and last hidden states [N, H] at the chunk's answer tokens."""
        engine, row, place = self.engine(adapter), *chunk.at
        output = engine.output
        if output is None:
            assert isinstance(engine, ThroughTransformers)
            states, logits = engine.hidden_and_logits(chunk.ids)
            log_probs = (logits[row, place] / self.temperature).log_softmax(-1)
            entropy = -(log_probs.detach().exp() * log_probs.detach()).sum(-1)
            return log_probs.gather(1, chunk.targets[:, None])[:, 0], entropy, states[row, place]
        hidden = engine.hidden(chunk.ids, chunk.where)[row, place]
        return *llama.log_prob(hidden, output, chunk.targets, self.temperature), hidden

    @torch.no_grad()
    def ends(self, adapter: str, rows: Rows) -> Tensor:
        """The adapter's last hidden state at each row's last token [rows, H]: what a reward model's head reads."""
        chunks = self.chunks(rows, range(len(rows)))
        self.engine(adapter)
        parts = self.map(
            lambda c: self.engine(adapter).hidden(c.ids, c.where)[torch.arange(len(c.rows)), c.last], chunks
        )
        states = parts[0].new_empty(len(rows), parts[0].shape[-1])
        for chunk, part in zip(chunks, parts, strict=True):
            states[list(chunk.rows)] = part
        return states


def to_matrix(rows: Rows, chunks: Sequence[Chunk], parts: Sequence[Tensor]) -> Tensor:
    """Values at answer tokens, one tensor [N] per chunk, as [rows, longest answer], 0 at padding; on the CPU."""
    out = torch.zeros(len(rows), max(map(len, rows.answers)))
    for chunk, part in zip(chunks, parts, strict=True):
        lengths = [len(rows.answers[i]) for i in chunk.rows]
        for i, piece in zip(chunk.rows, torch.split(part.detach().float().cpu(), lengths), strict=True):
            out[i, : len(piece)] = piece
    return out


def at_tokens(rows: Rows, chunk: Chunk, matrix: Tensor) -> Tensor:
    """The chunk's part of a [rows, longest answer] matrix, as [N] beside its answer tokens."""
    return torch.cat([matrix[i, : len(rows.answers[i])] for i in chunk.rows]).to(chunk.ids.device)

"""What a run will take: seconds and memory, before it starts and without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench import settings
from workbench.learn.catalogue import METHODS, TrainArgs
from workbench.memory import available_mb, recomputes

if TYPE_CHECKING:
    from workbench.jobs.runs import Run

# A small model is copied, since that is faster: its policy merged, and three sessions of onnxruntime, each with two
# copies and a third to compare; a large one is in memory once (models/llama.py).
COPIED_BELOW, COPIES = 32_000_000, 10
PROCESS_MB = 650.0  # a Python process with torch, transformers, peft and trl, as measured


@dataclass(frozen=True)
class Estimate:
    """`seconds` with its reason; `memory_mb` of the `available_mb`; whether that fits; and how to say it."""

    seconds: float | None
    reason: str
    memory_mb: float
    available_mb: float
    fits: bool
    memory: str


def estimate(model: str, method: str, args: TrainArgs, runs: Sequence[Run] = ()) -> Estimate:
    """`args` as from `resolve`; `runs` are this workspace's, newest first, of which the last like it is the guide."""
    seconds, reason = _seconds(model, method, args, runs)
    needed_mb, free_mb = memory_mb(model, method, args), available_mb()
    text = f"{'fits' if needed_mb <= free_mb else 'does not fit'}: {_gb(needed_mb)} of {_gb(free_mb)} GB"
    return Estimate(seconds, reason, needed_mb, free_mb, needed_mb <= free_mb, text)


def _gb(mb: float) -> str:
    return f"{mb / 1024:.1f}" if mb < 10_240 else f"{mb / 1024:.0f}"


def _seconds(model: str, method: str, args: TrainArgs, runs: Sequence[Run]) -> tuple[float | None, str]:
    work = args.steps * args.batch_size
    for run in runs:
        is_alike = run.state == "done" and run.method == method and run.config.model == model
        if is_alike and run.result and run.result.train_seconds:
            args_then = run.config.args
            per_example = run.result.train_seconds / (args_then["steps"] * args_then["batch_size"])
            overhead = run.result.seconds - run.result.train_seconds
            return per_example * work + overhead, f"from run {run.number} on this machine"
    if model == "sandbox":
        cost = METHODS[method].cost
        return cost.seconds_per_example * work + cost.seconds_around, "a guide from 2 shared CPU cores"
    return None, "time estimate after the first run"


def memory_mb(model: str, method: str, args: TrainArgs) -> float:
    """About what the job's process needs at its peak, in MB; only the process when the model is not here yet.

    The base's weights, several times if it is small; the adapter's with gradient and Adam's two moments, in float32;
    activations of one physical batch kept for the backward pass (about 16 hidden-sized and 3 feed-forward-sized numbers
    per token and layer; where they are computed again, see memory.recomputes, those of one layer and every layer's
    input), and the logits with their gradient.
    """
    count, shape = settings.parameters(model), settings.model_shape(model)
    if count is None or shape is None:
        return PROCESS_MB
    width = 2 if settings.graphics() else 4
    hidden, layers, inner = shape.hidden, shape.layers, shape.inner
    adapter = layers * args.lora_rank * (4 * 2 * hidden + 3 * (hidden + inner))
    # sequences are padded to the longest of a batch, which is rarely the limit; half of it is a cautious middle
    tokens = (args.micro_batch or args.batch_size) * METHODS[method].cost.sequences * max(64, args.max_tokens // 2)
    in_a_layer = 16 * hidden + 3 * inner
    recomputed = METHODS[method].cost.recomputes and recomputes(count, bool(settings.graphics()))
    activations = tokens * (layers * hidden + in_a_layer if recomputed else layers * in_a_layer) * width
    logits = min(tokens, 4096) * shape.vocabulary * 4 * 2
    references = adapter * 4 if METHODS[method].cost.copies else 0
    copies = COPIES if count < COPIED_BELOW else 0
    return PROCESS_MB + (count * (width + copies * 4) + adapter * 16 + references + activations + logits) / 2**20

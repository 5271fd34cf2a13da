"""Pretraining of the sandbox model from scratch on two cores: a hand-written Llama forward, which is faster than the library's.

Master weights stay float32, matrix products run in bfloat16. The state is a Hugging Face Llama state dict throughout, so
that saving needs no conversion.
"""

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from workbench.pretrain.corpus import conversations
from workbench.pretrain.tokenizer import SPECIAL


@dataclass(frozen=True)
class Shape:
    """The model's size; 1.65 million parameters as it stands."""

    vocabulary: int = 2560
    hidden: int = 160
    layers: int = 4
    heads: int = 5
    inner: int = 448
    positions: int = 512
    theta: float = 10_000.0


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to pretrain; token counts include padding."""

    tokens_a: int = 9_000_000
    tokens_b: int = 7_000_000
    batch_tokens: int = 3072
    rate: float = 6e-3
    matrix_rate: float = 5e-3
    question_weight: float = 0.1
    warmup: int = 100


Batch = tuple[Tensor, Tensor, Tensor]


def new_state(shape: Shape, seed: int) -> dict[str, Tensor]:
    """Fresh float32 weights under the names of a Hugging Face Llama."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int, std: float = 0.02) -> Tensor:
        return torch.empty(*size).normal_(0, std, generator=generator)

    state = {
        "model.embed_tokens.weight": normal(shape.vocabulary, shape.hidden, std=0.05),
        "model.norm.weight": torch.ones(shape.hidden),
    }
    h, inner, depth_scale = shape.hidden, shape.inner, 1 / math.sqrt(2 * shape.layers)
    for i in range(shape.layers):
        layer = f"model.layers.{i}."
        state[layer + "input_layernorm.weight"] = torch.ones(h)
        state[layer + "post_attention_layernorm.weight"] = torch.ones(h)
        for name in ("q", "k", "v"):
            state[f"{layer}self_attn.{name}_proj.weight"] = normal(h, h, std=h**-0.5)
        state[layer + "self_attn.o_proj.weight"] = normal(h, h, std=h**-0.5 * depth_scale)
        state[layer + "mlp.gate_proj.weight"] = normal(inner, h, std=h**-0.5)
        state[layer + "mlp.up_proj.weight"] = normal(inner, h, std=h**-0.5)
        state[layer + "mlp.down_proj.weight"] = normal(h, inner, std=inner**-0.5 * depth_scale)
    return state


def forward(state: dict[str, Tensor], shape: Shape, ids: Tensor) -> Tensor:
    """Logits (batch, length, vocabulary) in the weights' dtype; causal, right-padded rows need no mask."""
    rows, length = ids.shape
    size = shape.hidden // shape.heads
    angles = torch.outer(torch.arange(length), shape.theta ** (-torch.arange(0, size, 2) / size))
    dtype = state["model.embed_tokens.weight"].dtype
    cos, sin = (torch.cat((f(angles),) * 2, -1).to(dtype) for f in (torch.cos, torch.sin))
    mask = torch.full((length, length), float("-inf"), dtype=dtype).triu(1)

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (shape.hidden,), weight, 1e-5)

    def rotate(x: Tensor) -> Tensor:
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat((-right, left), -1) * sin

    x = F.embedding(ids, state["model.embed_tokens.weight"])
    for i in range(shape.layers):
        layer = f"model.layers.{i}."
        y = norm(x, state[layer + "input_layernorm.weight"])
        q, k, v = (
            F.linear(y, state[f"{layer}self_attn.{n}_proj.weight"])
            .view(rows, length, shape.heads, size)
            .transpose(1, 2)
            for n in "qkv"
        )
        scores = rotate(q) @ rotate(k).transpose(-1, -2) * size**-0.5 + mask
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, length, shape.hidden)
        x = x + F.linear(y, state[layer + "self_attn.o_proj.weight"])
        y = norm(x, state[layer + "post_attention_layernorm.weight"])
        gate = F.silu(F.linear(y, state[layer + "mlp.gate_proj.weight"])) * F.linear(
            y, state[layer + "mlp.up_proj.weight"]
        )
        x = x + F.linear(gate, state[layer + "mlp.down_proj.weight"])
    return F.linear(norm(x, state["model.norm.weight"]), state["model.embed_tokens.weight"])


def encode(tokenizer: Any, turns: list[tuple[str, str]], question_weight: float) -> tuple[list[int], list[float]]:
    """Token ids and loss weights of one conversation, rendered as the chat template renders it."""
    special = {name: tokenizer.convert_tokens_to_ids(token) for name, token in SPECIAL.items()}
    ids: list[int] = []
    weights: list[float] = []
    parts = tokenizer([text for turn in turns for text in turn], add_special_tokens=False)["input_ids"]
    for question, reply in zip(parts[::2], parts[1::2], strict=True):
        ids += [special["user"], *question, special["assistant"], *reply, special["end"]]
        weights += [0.0] + [question_weight] * len(question) + [0.0] + [1.0] * (len(reply) + 1)
    return ids, weights


def batches(tokenizer: Any, seed: int, phase: str, recipe: Recipe, chunk: int = 8192) -> Iterator[Batch]:
    """Endless batches (ids, targets, weights), each of rows of about one length so that little is padding."""
    rng = random.Random(f"{seed} order {phase}")
    source = conversations(seed, phase)
    while True:
        rows = sorted(
            (encode(tokenizer, turns, recipe.question_weight) for turns in islice(source, chunk)),
            key=lambda row: len(row[0]),
        )
        groups: list[list[tuple[list[int], list[float]]]] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * len(row[0]) > recipe.batch_tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            longest = max(len(ids) for ids, _ in group)
            ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in group])
            weights = torch.tensor([w + [0.0] * (longest - len(w)) for _, w in group])
            yield ids[:, :-1], ids[:, 1:], weights[:, 1:]


def loss_of(state: dict[str, Tensor], shape: Shape, batch: Batch) -> Tensor:
    """Mean cross entropy per weighted token, in nats."""
    ids, targets, weights = batch
    logits = forward(state, shape, ids).flatten(0, 1)
    mask = weights.flatten() > 0
    losses = F.cross_entropy(logits[mask].float(), targets.flatten()[mask], reduction="none")
    return (losses * weights.flatten()[mask]).sum() / weights.sum()


def pretrain(
    tokenizer: Any,
    shape: Shape,
    recipe: Recipe,
    seed: int,
    report: Callable[[dict[str, float]], None],
    checkpoint: Path | None = None,
) -> dict[str, Tensor]:
    """Train from scratch and return float32 weights. `report` gets step, tokens, loss, pace and seconds every 100 steps.

    The learning rates stay through phase A and fall linearly to a fiftieth through phase B. With `checkpoint`, the state
    after phase A is written there, and phase A is skipped where the file exists.
    """
    state = {name: weight.requires_grad_() for name, weight in new_state(shape, seed).items()}
    muon: Optimizer = torch.optim.Muon(
        [weight for name, weight in state.items() if "_proj" in name],
        lr=recipe.matrix_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    others = [weight for name, weight in state.items() if "_proj" not in name]
    adam = torch.optim.AdamW(others, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    progress = _Progress()
    start = time.perf_counter()
    recent: list[float] = []
    if checkpoint is not None and checkpoint.exists():
        progress = _restore(checkpoint, state, muon, adam)
    for phase, budget in (("A", recipe.tokens_a), ("B", recipe.tokens_b))[progress.phases :]:
        used = 0
        for batch in batches(tokenizer, seed, phase, recipe):
            if used >= budget:
                break
            pace = min(1.0, (progress.step + 1) / recipe.warmup) * (
                1.0 if phase == "A" else max(0.02, 1 - used / budget)
            )
            muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = recipe.matrix_rate * pace, recipe.rate * pace
            loss = loss_of({name: weight.bfloat16() for name, weight in state.items()}, shape, batch)
            torch.autograd.backward(loss)
            muon.step()
            adam.step()
            for weight in state.values():
                weight.grad = None
            used, progress.tokens, progress.step = (
                used + batch[0].numel(),
                progress.tokens + batch[0].numel(),
                progress.step + 1,
            )
            recent.append(loss.item())
            if progress.step % 100 == 0:
                mean, seconds = sum(recent) / len(recent), time.perf_counter() - start
                report(
                    {"step": progress.step, "tokens": progress.tokens, "loss": mean, "pace": pace, "seconds": seconds}
                )
                recent.clear()
        progress.phases += 1
        if phase == "A" and checkpoint is not None:
            parts = {"state": state, "muon": muon.state_dict(), "adam": adam.state_dict(), "done": vars(progress)}
            torch.save(parts, checkpoint)
    return {name: weight.detach() for name, weight in state.items()}


@dataclass
class _Progress:
    phases: int = 0
    step: int = 0
    tokens: int = 0


def _restore(path: Path, state: dict[str, Tensor], muon: Optimizer, adam: Optimizer) -> _Progress:
    checkpoint = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name, weight in state.items():
            weight.copy_(checkpoint["state"][name])
    muon.load_state_dict(checkpoint["muon"])
    adam.load_state_dict(checkpoint["adam"])
    return _Progress(**checkpoint["done"])


def save(state: dict[str, Tensor], shape: Shape, tokenizer: Any, folder: Path) -> None:
    """Write config, bfloat16 safetensors, tokenizer and generation settings as Hugging Face tools expect them."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.inner, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.heads, max_position_embeddings=shape.positions,
        rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, rope_parameters={"rope_type": "default", "rope_theta": shape.theta},
        dtype="bfloat16",
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    missing = model.load_state_dict(state, strict=False)
    if missing.unexpected_keys or missing.missing_keys != ["lm_head.weight"]:
        raise ValueError(f"weights do not fit the model: {missing}")
    model.tie_weights()
    generation_config: Callable[..., Any] = GenerationConfig  # its constructor has no annotations
    model.generation_config = generation_config(
        do_sample=True,
        temperature=0.8,
        top_p=1.0,
        top_k=0,
        max_new_tokens=64,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.bfloat16().save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)

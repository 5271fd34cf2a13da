"""Ways to run a batch token by token: a hand-written Llama in torch and in onnxruntime, and transformers' own.

On a small model transformers spends most of a step in Python: building masks, checking caches, hooks of the adapters.
`LlamaDecoder` does the same arithmetic in about 25 tensor operations a layer and is used wherever it applies; on a CPU
a small model whose rows all have one adapter is run by `OnnxDecoder` (onnx_decoder.py), one call a step, and on a CUDA GPU
such rows by `GraphDecoder`, which records a step once and replays it. Which of them runs, and why, is in
`choose(...).reason`. All hold the same state and answer the same three calls:

    logits = decoder.start(ids, mask)      # [rows, prompt], 0 in mask = padding on the left -> [rows, vocabulary]
    logits = decoder.step(tokens)          # [rows] -> [rows, vocabulary]
    decoder.keep(index)                    # these rows go on, in this order
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.models import AdapterChoice, Model, lora
from workbench.models.llama import LINEARS, ROPES, block_diagonal, joined, lay_side_by_side
from workbench.models.onnx_decoder import OnnxDecoder, why_not_onnx

BASE: AdapterChoice = (None, 0.0)
MERGE_BELOW = 32_000_000  # weights; a merged copy of a small model costs little and saves two products a layer


def choose(model: Model, adapters: list[AdapterChoice], room: int) -> OnnxDecoder | LlamaDecoder | TransformersDecoder:
    """The decoder for a batch whose rows speak through `adapters`; `room` is the most tokens a row can reach."""
    reason = why_not_llama(model)
    if reason is not None:
        return TransformersDecoder(model, adapters, reason)
    if len(set(adapters)) == 1 and why_not_onnx(model) is None:
        cos, sin = _rotation(model.hf, room)
        half = cos.shape[-1] // 2
        rotation = cos[:, :half].contiguous(), sin[:, :half].contiguous()
        key, source = _read_by(model.hf, adapters[0])
        return OnnxDecoder(model, key, source, lambda: _onnx_weights(LlamaDecoder(model, adapters[:1], room)), rotation)
    recorded = records(model) and len(set(adapters)) == 1
    return (GraphDecoder if recorded else LlamaDecoder)(model, adapters, room)


def together(model: Model) -> Callable[[list[AdapterChoice]], bool]:
    """Says of rows with these adapters whether they should run as one batch."""
    if why_not_llama(model) is not None:
        return TransformersDecoder.together if lora.mixes(model) else lambda adapters: adapters[0] == adapters[-1]
    if why_not_onnx(model) is None or records(model):
        # one after the other by onnxruntime is quicker than all at once, and a recorded step has one adapter
        return lambda adapters: adapters[0] == adapters[-1]
    return lambda adapters: True


def records(model: Model) -> bool:
    """Whether steps of this Llama are recorded when its rows have one adapter: CUDA graphs need a CUDA GPU."""
    return model.device.type == "cuda"


def why_not_llama(model: Model) -> str | None:
    """Why the hand-written decoder does not apply to this model and its adapters; None when it does."""
    hf, config = model.hf, model.hf.config
    if type(hf).__name__ != "LlamaForCausalLM":
        return f"{type(hf).__name__} is run by transformers: the hand-written decoder is Llama's"
    if config.rope_parameters["rope_type"] not in ROPES or config.hidden_act != "silu":
        return f"rope {config.rope_parameters['rope_type']}, activation {config.hidden_act}: run by transformers"
    if len(set(getattr(hf, "hf_device_map", {}).values())) > 1:
        return "its layers lie on several devices: run by transformers"
    layer = hf.model.layers[0]
    linears = [_base(getattr(part, n)) for part in (layer.self_attn, layer.mlp) for n in LINEARS if hasattr(part, n)]
    if any(type(linear) is not torch.nn.Linear or linear.bias is not None for linear in linears):
        return "its linear layers are quantised or have biases: run by transformers"
    inside = {name for name, _ in lora.layers(model) if name.rsplit(".", 1)[-1] not in LINEARS}
    if inside:
        return f"an adapter sits on {', '.join(sorted(inside))}: run by transformers"
    return None


def _base(linear: Any) -> Any:
    return getattr(linear, "base_layer", linear)


class TransformersDecoder:
    """transformers' forward with its cache; adapters row by row through PEFT's `adapter_names`."""

    def __init__(self, model: Model, adapters: list[AdapterChoice], reason: str) -> None:
        self.model, self.adapters, self.reason = model, list(adapters), reason

    @staticmethod
    def together(adapters: list[AdapterChoice]) -> bool:
        """Whether these rows fit one batch: PEFT keeps one strength per adapter."""
        strengths: dict[str | None, float] = {}
        return all(strengths.setdefault(name, strength) == strength for name, strength in adapters)

    def start(self, ids: Tensor, mask: Tensor) -> Tensor:
        from transformers import DynamicCache

        self.mask = mask
        self.cache = DynamicCache(config=self.model.hf.config)
        # left padding: a row's first real token is its position 0, wherever it stands in the batch
        return self._forward(ids, (mask.cumsum(1) - 1).clamp(min=0))

    def step(self, tokens: Tensor) -> Tensor:
        self.mask = F.pad(self.mask, (0, 1), value=1)
        return self._forward(tokens[:, None], self.mask.sum(1, keepdim=True) - 1)

    def keep(self, index: Tensor) -> None:
        self.mask = self.mask[index]
        self.adapters = [self.adapters[i] for i in index.tolist()]
        self.cache.batch_select_indices(index)

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        call = {
            "input_ids": ids,
            "attention_mask": self.mask,
            "position_ids": positions,
            "past_key_values": self.cache,
            "use_cache": True,
            "logits_to_keep": 1,
        }
        logits: Tensor = forward(self.model, self.adapters, **call).logits
        return logits[:, -1]


def forward(model: Model, adapters: list[AdapterChoice], **call: Any) -> Any:
    """transformers' forward of a batch whose rows speak through `adapters`. The caller holds the model's turn.

    Rows with different adapters ask PEFT for them row by row, which not every model allows, see `lora.mixes`.
    """
    layers = lora.layers(model)
    names = {name for name, _ in adapters}
    with lora.strengths(layers, {name: strength for name, strength in adapters if name is not None}):
        if len(names) == 1:
            with lora.speaking(layers, names.pop()):
                return model.hf(**call)
        from peft import PeftModel

        # the plain one: that of PeftModelForCausalLM leaves `adapter_names` out for MPT, and every row would be the base's
        return PeftModel.forward(model.peft, **call, adapter_names=[name or "__base__" for name, _ in adapters])


@contextmanager
def last_hidden(hf: Any) -> Iterator[list[Tensor]]:
    """Within it, every forward of `hf` adds to the list what its output layer reads: [rows, tokens, hidden]."""
    states: list[Tensor] = []
    # the decoder and not `hf.base_model`, which OPT steps over
    hook = hf.get_decoder().register_forward_hook(lambda *of: states.append(of[2].last_hidden_state))
    try:
        yield states
    finally:
        hook.remove()


def hidden_width(hf: Any) -> int:
    """Numbers that the output layer, or a head in its place, reads of a token; not always the layers' own width."""
    width: int = hf.get_output_embeddings().weight.shape[1]
    return width


@dataclass
class Projection:
    """Linear layers that read the same input, as one product; with what each group of rows adds to it.

    weight [out, in]; `low` holds a pair (down [rank, in], up [out, rank]) per group of rows, None for the base.
    """

    weight: Tensor
    low: list[tuple[Tensor, Tensor] | None]

    def __call__(self, x: Tensor, groups: list[slice]) -> Tensor:
        out = F.linear(x, self.weight)
        for rows, pair in zip(groups, self.low, strict=True):
            if pair is not None:
                out[rows] += F.linear(F.linear(x[rows], pair[0]), pair[1])
        return out


class LlamaDecoder:
    """LlamaForCausalLM (Touvron et al. 2023) with LoRA, a key-value cache and nothing else.

    Rows stand in order of their adapter, so that each works on one slice of the batch. Where all rows have the same one
    and the model is small, it is merged into a copy of the weights.
    """

    def __init__(self, model: Model, adapters: list[AdapterChoice], room: int) -> None:
        hf, config = model.hf, model.hf.config
        lay_side_by_side(hf)  # a large model's weights, so that none is copied to be joined
        self.adapters = list(adapters)
        runs = [(adapter, len(list(rows))) for adapter, rows in groupby(self.adapters)]
        self.groups = _slices([n for _, n in runs])
        distinct = [adapter for adapter, _ in runs]
        self.heads, self.kv = config.num_attention_heads, config.num_key_value_heads
        self.width = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps, self.room = config.rms_norm_eps, room
        self.embed, self.norm, self.head = hf.model.embed_tokens.weight, hf.model.norm.weight, hf.lm_head.weight
        merge = len(distinct) == 1 and sum(p.numel() for p in hf.model.layers.parameters()) < MERGE_BELOW
        self.layers = [
            (
                layer.input_layernorm.weight,
                _projection([layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj], distinct, merge),
                _projection([layer.self_attn.o_proj], distinct, merge),
                layer.post_attention_layernorm.weight,
                _projection([layer.mlp.gate_proj, layer.mlp.up_proj], distinct, merge),
                _projection([layer.mlp.down_proj], distinct, merge),
            )
            for layer in hf.model.layers
        ]
        merged = "merged into a copy of the weights" if merge and distinct[0][0] else "added row by row"
        detail = f", adapter {merged}" if any(name for name, _ in distinct) else ""
        self.reason = f"a Llama: run by the hand-written decoder{detail}"
        self.cos, sin = _rotation(hf, room)
        half = self.width // 2
        sign = torch.cat([-torch.ones(half), torch.ones(half)]).to(sin)
        self.sin = sin * sign  # [room, width]; rotate_half is a roll with a sign

    def start(self, ids: Tensor, mask: Tensor) -> Tensor:
        rows, length = ids.shape
        x = F.embedding(ids, self.embed)
        self.keys = x.new_empty(len(self.layers), rows, self.kv, self.room, self.width)
        self.values = torch.empty_like(self.keys)
        self.length = length
        # -inf would make rows of padding NaN, which a later product with 0 would spread
        least = torch.finfo(x.dtype).min
        self.bias = x.new_zeros(rows, self.kv, 1, self.room)  # added to the scores: padding is never looked at
        self.bias[..., :length].masked_fill_((mask == 0)[:, None, None], least)
        causal = torch.full((length, length), least, dtype=x.dtype, device=x.device).triu(1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        self.position = positions[:, -1]
        return self._forward(x, positions, (self.bias[:, :1, :, :length] + causal).clamp(min=least))

    def step(self, tokens: Tensor) -> Tensor:
        self.length += 1
        return self._next(tokens)

    def keep(self, index: Tensor) -> None:
        self._move(index)
        self.keys, self.values = self.keys[:, : len(index)], self.values[:, : len(index)]
        self.bias, self.position = self.bias[index], self.position[index]
        survivors = set(index.tolist())
        self.groups = _slices([sum(row in survivors for row in range(g.start, g.stop)) for g in self.groups])

    def _move(self, index: Tensor) -> Tensor:
        """Copy the caches of rows that change their place, as far as steps look at them; the places that changed."""
        targets = (index != torch.arange(len(index), device=index.device)).nonzero()[:, 0]
        if len(targets):
            sources = index[targets]
            for cache in (self.keys, self.values):
                cache[:, targets, :, : self.length] = cache[:, sources, :, : self.length]
        return targets

    def _next(self, tokens: Tensor) -> Tensor:
        self.position += 1
        return self._forward(F.embedding(tokens, self.embed)[:, None], self.position[:, None], None)

    def _forward(self, x: Tensor, positions: Tensor, bias: Tensor | None) -> Tensor:
        """x [rows, new, hidden] -> logits of the last place [rows, vocabulary]; the cache takes `new` places."""
        rows, new, _ = x.shape
        cos, sin = self.cos[positions][:, :, None], self.sin[positions][:, :, None]  # [rows, new, 1, width]
        turned = self.heads + self.kv  # queries and keys are turned by their position, values are not
        for i, (norm1, qkv, out, norm2, gate_up, down) in enumerate(self.layers):
            h = qkv(self._rms(x, norm1), self.groups).view(rows, new, turned + self.kv, self.width)
            qk = h[:, :, :turned]
            qk = qk * cos + qk.roll(self.width // 2, -1) * sin
            q, k, v = qk[:, :, : self.heads], qk[:, :, self.heads :], h[:, :, turned:]
            self._remember(i, k.transpose(1, 2), v.transpose(1, 2))
            a = self._attend_one(i, q) if bias is None else self._attend_many(q, k, v, bias)
            x = x + out(a, self.groups)
            gate, up = gate_up(self._rms(x, norm2), self.groups).chunk(2, -1)
            x = x + down(F.silu(gate) * up, self.groups)
        return F.linear(self._rms(x[:, -1], self.norm), self.head)

    def _remember(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Put keys and values [rows, kv, new, width] behind those in the cache."""
        start = self.length - k.shape[2]
        self.keys[layer, :, :, start : self.length] = k
        self.values[layer, :, :, start : self.length] = v

    def _attend_many(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """The prompt looks at itself: q [rows, new, heads, width] -> [rows, new, heads * width]."""
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=self.heads != self.kv)
        return a.transpose(1, 2).flatten(2)

    def _attend_one(self, layer: int, q: Tensor) -> Tensor:
        """One new token looks at the cache: for a single query plain products beat fused attention on a CPU."""
        rows = len(q)
        q = q.reshape(rows * self.kv, -1, self.width)  # heads that share a key stand together
        keys = self.keys[layer].flatten(0, 1)[:, : self.length]
        values = self.values[layer].flatten(0, 1)[:, : self.length]
        bias = self.bias.view(rows * self.kv, 1, -1)[..., : self.length]
        scores = torch.baddbmm(bias, q, keys.transpose(1, 2), alpha=self.width**-0.5)
        return torch.bmm(scores.softmax(-1), values).view(rows, 1, -1)

    def _rms(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight, self.eps)


class GraphDecoder(LlamaDecoder):
    """LlamaDecoder for rows of one adapter on a GPU: a step is recorded as a CUDA graph and replayed.

    Some hundred small kernels otherwise wait for Python one by one. A recording has fixed shapes and addresses: a step
    looks at every place of the cache, of which `bias` hides those not written yet, and rows that have ended run along.
    """

    def __init__(self, model: Model, adapters: list[AdapterChoice], room: int) -> None:
        super().__init__(model, adapters, room)
        self.reason += ", its steps recorded as a CUDA graph"

    def start(self, ids: Tensor, mask: Tensor) -> Tensor:
        self.graph: torch.cuda.CUDAGraph | None = None
        self.stepping = self.warm = False
        logits = super().start(ids, mask)
        written = ids.shape[1]
        self.bias[..., written:] = torch.finfo(self.bias.dtype).min
        for cache in (self.keys, self.values):
            cache[..., written:, :] = 0  # hidden or not, 0 times what is there must be 0
        self.place = torch.tensor([written], device=ids.device)  # of the next token, for all rows
        self.tokens = ids.new_zeros(len(ids))
        self.length, self.stepping = self.room, True
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        self.tokens[: len(tokens)] = tokens
        if self.graph is None and self.warm and tokens.is_cuda:
            self._record()
        if self.graph is not None:
            self.graph.replay()
        else:
            self.logits, self.warm = self._next(self.tokens), True  # loads the kernels, which a recording must not
        return self.logits[: len(tokens)]

    def _record(self) -> None:
        """What `torch.cuda.graph` does, without giving all cached memory back to the driver each time."""
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch gives it no types
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            graph.capture_begin(capture_error_mode="thread_local")  # other threads may use the GPU meanwhile
            self.logits = self._next(self.tokens)
            graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = graph

    def keep(self, index: Tensor) -> None:
        targets = self._move(index)
        for of_rows in (self.bias, self.position):
            of_rows[targets] = of_rows[index[targets]]

    def _next(self, tokens: Tensor) -> Tensor:
        self.bias.index_fill_(3, self.place, 0.0)
        logits = super()._next(tokens)
        self.place += 1
        return logits

    def _remember(self, layer: int, k: Tensor, v: Tensor) -> None:
        if self.stepping:
            self.keys[layer].index_copy_(2, self.place, k)
            self.values[layer].index_copy_(2, self.place, v)
        else:
            super()._remember(layer, k, v)


def _rotation(hf: Any, room: int) -> tuple[Tensor, Tensor]:
    """cos and sin of every position [room, width], scaled as the model's kind of rope asks for."""
    weight = hf.model.embed_tokens.weight
    cos, sin = hf.model.rotary_emb(weight, torch.arange(room, device=weight.device)[None])
    return cos[0], sin[0]


def _read_by(hf: Any, adapter: AdapterChoice) -> tuple[tuple[AdapterChoice, tuple[float, ...]], list[Tensor]]:
    """All that decides what an adapter answers: its name and strength, its adapter's scales, and every weight."""
    name, strength = adapter
    source, scales = [hf.model.embed_tokens.weight, hf.model.norm.weight, hf.lm_head.weight], []
    for layer in hf.model.layers:
        source += [layer.input_layernorm.weight, layer.post_attention_layernorm.weight]
        attention, mlp = layer.self_attn, layer.mlp
        for linear in (*(getattr(attention, n) for n in LINEARS[:4]), *(getattr(mlp, n) for n in LINEARS[4:])):
            source.append(_base(linear).weight)
            if name is not None and strength != 0 and hasattr(linear, "lora_A") and name in linear.lora_A:
                source += [linear.lora_A[name].weight, linear.lora_B[name].weight]
                scales.append(linear.scaling[name])
    return (adapter, tuple(scales)), source


def _onnx_weights(llama: LlamaDecoder) -> dict[str, Tensor]:
    """The weights of a decoder of one adapter, merged in, under onnx_decoder's names."""
    weights = {"embed": llama.embed, "head": llama.head, f"norm1_{len(llama.layers)}": llama.norm}
    for i, (norm1, qkv, out, norm2, gate_up, down) in enumerate(llama.layers):
        gate, up = gate_up.weight.chunk(2)
        weights |= {f"norm1_{i}": norm1, f"qkv{i}": qkv.weight, f"out{i}": out.weight, f"norm2_{i}": norm2}
        weights |= {f"gate{i}": gate, f"up{i}": up, f"down{i}": down.weight}
    return weights


def _slices(counts: list[int]) -> list[slice]:
    ends = list(accumulate(counts))
    return [slice(end - n, end) for n, end in zip(counts, ends, strict=True)]


def _projection(linears: list[Any], adapters: list[AdapterChoice], merge: bool) -> Projection:
    weights = [_merged(linear, adapters[0]) if merge else _base(linear).weight for linear in linears]
    low = [None if merge else _low_rank(linears, adapter) for adapter in adapters]
    return Projection(joined(weights, weights[0].dtype), low)


def _merged(linear: Any, adapter: AdapterChoice) -> Tensor:
    weight, pair = _base(linear).weight, _low_rank([linear], adapter)
    return weight if pair is None else torch.addmm(weight.float(), pair[1].float(), pair[0].float()).to(weight.dtype)


def _low_rank(linears: list[Any], adapter: AdapterChoice) -> tuple[Tensor, Tensor] | None:
    """LoRA of several linears as one pair: their A stacked, their B on the diagonal, scaled. Hu et al. 2021."""
    name, strength = adapter
    if name is None or strength == 0 or not any(hasattr(x, "lora_A") and name in x.lora_A for x in linears):
        return None
    base = [_base(linear).weight for linear in linears]
    downs, ups = [], []
    for linear, weight in zip(linears, base, strict=True):
        if hasattr(linear, "lora_A") and name in linear.lora_A:
            downs.append(linear.lora_A[name].weight)
            ups.append(linear.lora_B[name].weight * (linear.scaling[name] * strength))
        else:
            downs.append(weight.new_zeros(0, weight.shape[1]))
            ups.append(weight.new_zeros(weight.shape[0], 0))
    if len(linears) == 1:
        return downs[0].to(base[0].dtype), ups[0].to(base[0].dtype)
    return torch.cat(downs).to(base[0].dtype), block_diagonal(*ups).to(base[0].dtype)

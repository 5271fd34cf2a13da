"""Llama with LoRA as training needs it: a forward whose backward is written by hand, where nothing frozen gets a gradient.

transformers and PEFT build about 60 graph nodes a layer, keep every intermediate, and pay two thin products a linear
layer forward and backward. Here a small model's adapter is merged into a copy of the weights once per update, the
thin products are left to the backward pass, and logits exist one chunk at a time. Checked against transformers and
PEFT in the tests; `why_not` says which models it does not fit.

Shapes: B rows, T positions (padding on the right, so that causality alone hides it), H hidden, V vocabulary, N tokens
one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench import settings
from workbench.memory import give_memory_back
from workbench.settings import Choice

MERGE_BELOW = 32_000_000  # weights; above, a merged copy costs more memory than the thin products cost time
EXACT_HEAD_BELOW = 8_000_000  # weights; a small output layer stays float32, since bfloat16 logits are off by 0.02
LOGIT_CHUNK, LOGIT_CHUNK_GPU = 1_000_000, 32_000_000  # logits that exist at once; a GPU wants few large products
LOGIT_TOKENS = 64  # in a product at least: below, reading the output layer costs more than multiplying it (docs/log.md)
ROPES = ("default", "linear", "llama3", "yarn")  # positions that do not depend on the length seen so far
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PACK = 128  # tokens; a CPU has to prepare every new shape of a product
PLAIN_ATTENTION_BELOW = 160  # positions; below, two matrix products and a softmax beat the fused kernel on a CPU


@dataclass(frozen=True)
class Projection:
    """Linear layers that read the same input, as one product.

    weight [out, in] holds the adapter already if `merged`. `downs` [rank, in] and `ups` [out_i, rank] are the adapter's
    own trainable tensors, empty for a frozen model; `down` [ranks, in] are all downs and `up` [out, ranks] all ups times
    the scale, each in its linear's rows and its rank's columns, both in the weight's number format.
    """

    weight: Tensor
    merged: bool
    scale: float
    downs: tuple[Tensor, ...]
    ups: tuple[Tensor, ...]
    down: Tensor
    up: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        if not self.downs:
            return F.linear(x, self.weight)
        return _LowRank.apply(x, self, *self.downs, *self.ups)


class _LowRank(torch.autograd.Function):
    """x [..., in] -> x (W + s B A)^T [..., out], with gradients of x, A and B (Hu et al. 2021), none of W."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: Projection, *factors: Tensor) -> Tensor:
        ctx.p = p
        ctx.save_for_backward(x)
        y = F.linear(x, p.weight)
        if not p.merged:
            y += F.linear(F.linear(x, p.down), p.up)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,), p = ctx.saved_tensors, ctx.p
        dy = grads[0].reshape(-1, grads[0].shape[-1])
        flat = x.reshape(-1, x.shape[-1])
        ranks = [len(a) for a in p.downs]
        du = dy @ p.up
        d_downs = (du.T @ flat).to(p.downs[0].dtype).split(ranks)
        # one product for all linears, though only each one's own block of it is wanted: it is thin anyway
        d_up = (dy.T @ (flat @ p.down.T)).to(p.ups[0].dtype).mul_(p.scale)
        d_ups = [rows.split(ranks, 1)[k] for k, rows in enumerate(d_up.split([len(b) for b in p.ups]))]
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dy @ p.weight
            if not p.merged:
                dx += du @ p.down
            dx = dx.view(x.shape)
        return dx, None, *d_downs, *d_ups


class _Norm(torch.autograd.Function):
    """Root mean square norm (Zhang & Sennrich 2019) of float32 x [..., H], in the weight's number format."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        unit = (x * inverse).to(weight.dtype)
        ctx.save_for_backward(unit, inverse, weight)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        unit, inverse, weight = ctx.saved_tensors
        d = (grads[0] * weight).float()
        return (d - unit * (d * unit).mean(-1, keepdim=True)) * inverse, None, None


class _Gate(torch.autograd.Function):
    """SwiGLU (Shazeer 2020): [..., 2 F] -> silu(first half) * second half [..., F]."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        gate, up = both.chunk(2, -1)
        return F.silu(gate) * up

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor]:
        (both,) = ctx.saved_tensors
        gate, up = both.chunk(2, -1)
        out = torch.empty_like(both)
        d_gate, d_up = out.chunk(2, -1)
        s = gate.sigmoid()
        silu = gate * s
        torch.mul(grads[0], silu, out=d_up)
        # silu' = s (1 + g (1 - s)) = s + silu (1 - s)
        torch.mul(grads[0] * up, s.addcmul(silu, 1 - s), out=d_gate)
        return (out,)


class _Turn(torch.autograd.Function):
    """Rotary positions (Su et al. 2021) on the first `n` heads of x [N, heads, width]; its backward turns them back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.n = n
        return _turned(x, cos, sin, n, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _turned(grads[0], cos, sin, ctx.n, -1.0), None, None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor, n: int, way: float) -> Tensor:
    out = torch.empty_like(x)
    turning = x[:, :n]
    torch.addcmul(turning * cos, turning.roll(x.shape[-1] // 2, -1), sin, value=way, out=out[:, :n])
    out[:, n:] = x[:, n:]
    return out


class _Spread(torch.autograd.Function):
    """x [N, ...] to places `where` [N] among `places`, 0 at the others."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, where: Tensor, places: int) -> Tensor:
        ctx.save_for_backward(where)
        return x.new_zeros(places, *x.shape[1:]).index_copy_(0, where, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (where,) = ctx.saved_tensors
        return grads[0].index_select(0, where), None, None


class _Pick(torch.autograd.Function):
    """What stands at places `where` [N], each of them named once, of x [places, ...]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, where: Tensor) -> Tensor:
        ctx.save_for_backward(where)
        ctx.places = len(x)
        return x.index_select(0, where)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (where,) = ctx.saved_tensors
        return grads[0].new_zeros(ctx.places, *grads[0].shape[1:]).index_copy_(0, where, grads[0]), None


@dataclass(frozen=True)
class OutputLayer:
    """Hidden states [N, H] -> logits [N, V]: a linear layer [V, H], its bias [V], a scale (Cohere, Granite), and a soft
    cap, cap * tanh(z / cap) (Gemma 2)."""

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits in float32; the product is in the weight's number format."""
        z = F.linear(hidden.to(self.weight.dtype), self.weight, self.bias).float()
        if self.scale != 1:
            z *= self.scale
        return z if self.cap is None else z.div_(self.cap).tanh_().mul_(self.cap)


class _LogProb(torch.autograd.Function):
    """hidden [N, H], targets [N] -> log-probabilities and entropies [N], in nats at `temperature`.

    d log p(y) / d hidden = (W[y] - E_p[W]) / temperature is computed along with the value, so that no logits are kept;
    with a scale s and a cap c, W[v] counts s (1 - (z_v / c)^2) times. The entropy is to be watched and has no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, output: OutputLayer, targets: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        wanted, head = ctx.needs_input_grad[0], output.weight
        log_p, entropy = hidden.new_empty(len(hidden)), hidden.new_empty(len(hidden))
        slope = torch.empty_like(hidden) if wanted else None
        size = max(LOGIT_TOKENS, (LOGIT_CHUNK_GPU if hidden.is_cuda else LOGIT_CHUNK) // len(head))
        for k in range(0, len(hidden), size):
            part = slice(k, k + size)
            logits = output.logits(hidden[part])
            bend = None if output.cap is None else 1 - (logits / output.cap).square_()
            logits.div_(temperature)
            whole = logits.logsumexp(-1)
            log_p[part] = logits.gather(1, targets[part, None])[:, 0] - whole
            p = (logits - whole[:, None]).exp_()
            entropy[part] = whole - torch.linalg.vecdot(p, logits)
            if slope is not None:
                own = head[targets[part]].float()
                if bend is not None:
                    own, p = own * bend.gather(1, targets[part, None]), p * bend
                slope[part] = (own - (p.to(head.dtype) @ head).float()) * output.scale / temperature
        ctx.mark_non_differentiable(entropy)
        if slope is not None:
            ctx.save_for_backward(slope)
        return log_p, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return slope * grads[0][:, None], None, None, None


def log_prob(hidden: Tensor, output: OutputLayer, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability [N] of each target under the output layer, and the distribution's entropy [N]; nats."""
    return _LogProb.apply(hidden, output, targets, temperature)


def packed(mask: Tensor) -> Tensor:
    """Places [N], counted through a mask [B, T], of what is not padding; some padding fills N up to a multiple of PACK."""
    flat = mask.reshape(-1).bool()
    spare = (~flat).nonzero()[: -int(flat.sum()) % PACK, 0]
    return flat.index_fill(0, spare, True).nonzero()[:, 0]


def number_format(device: str) -> Choice:
    """What the frozen base is computed in while training, as a torch dtype; adapters and heads stay float32."""
    if device != "cpu":
        return settings.dtype(device)
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return Choice(torch.bfloat16, "this processor multiplies bfloat16 about four times as fast")
    return Choice(torch.float32, "this processor has no fast bfloat16")


def why_not(hf: Any) -> str | None:
    """Why this model is run by transformers instead, None when it need not be."""
    config = hf.config
    if type(hf).__name__ != "LlamaForCausalLM":
        return f"{type(hf).__name__} is run by transformers: the hand-written forward is Llama's"
    if config.rope_parameters["rope_type"] not in ROPES or config.hidden_act != "silu":
        return f"rope {config.rope_parameters['rope_type']}, activation {config.hidden_act}: run by transformers"
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        return "its linear layers have biases: run by transformers"
    layer = hf.model.layers[0]
    linears = [getattr(part, n) for part in (layer.self_attn, layer.mlp) for n in LINEARS if hasattr(part, n)]
    if any(type(getattr(x, "base_layer", x)) is not torch.nn.Linear for x in linears):
        return "its linear layers are quantised: run by transformers"
    return None


def merges(hf: Any) -> bool:
    """Whether adapters are merged into copies of this model's weights."""
    return sum(p.numel() for name, p in hf.named_parameters() if "lora_" not in name) < MERGE_BELOW


def settle(hf: Any, dtype: torch.dtype) -> None:
    """Put a large base into `dtype` and lay weights that read the same input side by side, all without a second copy.

    The model stays what it is to everybody else. A small model is left alone.
    """
    if merges(hf):
        return
    for name, weight in hf.named_parameters():
        if "lora_" not in name:
            weight.data = weight.data.to(dtype)
    lay_side_by_side(hf)


def lay_side_by_side(hf: Any) -> None:
    """Make a large base's weights that read the same input views of one matrix, which `joined` then need not copy."""
    if merges(hf) or _side_by_side(_weights(_groups(hf.model.layers[-1])[0])):
        return
    for layer in hf.model.layers:
        for group in _groups(layer):
            weights = _weights(group)
            if len(weights) > 1 and not _side_by_side(weights):
                with torch.inference_mode(False):  # a generation may ask; training has to be able to read them as well
                    whole = torch.cat([w.data for w in weights])
                    for weight, part in zip(weights, whole.split([len(w) for w in weights]), strict=True):
                        weight.data = part
    give_memory_back()  # of the weights as they lay before


def _weights(linears: Sequence[Any]) -> list[Tensor]:
    return [getattr(linear, "base_layer", linear).weight for linear in linears]


def _groups(layer: Any) -> tuple[list[Any], ...]:
    attention, mlp = layer.self_attn, layer.mlp
    return (
        [attention.q_proj, attention.k_proj, attention.v_proj],
        [attention.o_proj],
        [mlp.gate_proj, mlp.up_proj],
        [mlp.down_proj],
    )


def _side_by_side(weights: Sequence[Tensor]) -> bool:
    store = weights[0].untyped_storage()
    whole = store.data_ptr() == weights[0].data_ptr() and store.nbytes() == sum(w.nbytes for w in weights)
    return whole and all(w.untyped_storage().data_ptr() == store.data_ptr() for w in weights)


class Llama:
    """The frozen base with one adapter on it (or none), at the adapter's present values.

    Make a new one after each update of the adapter: where the adapter is merged, the copy is of the values then.
    """

    def __init__(self, hf: Any, adapter: str | None, dtype: torch.dtype | None = None) -> None:
        config = hf.config
        self.heads, self.kv = config.num_attention_heads, config.num_key_value_heads
        self.width = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps = config.rms_norm_eps
        self.embed, self.rotary = hf.model.embed_tokens.weight, hf.model.rotary_emb
        self.dtype = dtype or self.embed.dtype
        merge = merges(hf)
        self.norm = hf.model.norm.weight.float()
        head = hf.lm_head.weight
        self.output = OutputLayer(head.float() if head.numel() < EXACT_HEAD_BELOW else head.to(self.dtype))
        with torch.no_grad():
            self.layers = [self._layer(layer, adapter, merge) for layer in hf.model.layers]

    def _layer(self, layer: Any, adapter: str | None, merge: bool) -> tuple[Any, ...]:
        qkv, out, gate_up, down = (_projection(group, adapter, merge, self.dtype) for group in _groups(layer))
        norms = (layer.input_layernorm.weight, layer.post_attention_layernorm.weight)
        return norms[0].to(self.dtype), qkv, out, norms[1].to(self.dtype), gate_up, down

    def hidden(self, ids: Tensor, where: Tensor | None = None) -> Tensor:
        """Token ids [B, T], padded on the right -> the final norm's output [B, T, H], float32.

        With `where`, as from `packed`, only those places are computed, and the others are 0: all but attention, which
        needs the matrix, runs on the tokens one after the other.
        """
        rows, length = ids.shape
        flat = ids.reshape(-1)
        place = torch.arange(length, device=ids.device).repeat(rows)
        if where is not None:
            flat, place = flat[where], place[where]
        x = F.embedding(flat, self.embed).float()
        cos, sin = (t[0, :, None].to(self.dtype) for t in self.rotary(x, place[None]))
        half = self.width // 2
        sin = torch.cat([-sin[..., :half], sin[..., half:]], -1)
        both = self.heads + self.kv
        future = torch.full((length, length), float("-inf"), dtype=self.dtype, device=x.device).triu(1)
        for norm1, qkv, out, norm2, gate_up, down in self.layers:
            h = qkv(_Norm.apply(x, norm1, self.eps)).view(-1, both + self.kv, self.width)
            h = _Turn.apply(h, cos, sin, both)
            if where is not None:
                h = _Spread.apply(h, where, rows * length)
            q, k, v = h.view(rows, length, both + self.kv, self.width).split([self.heads, self.kv, self.kv], 2)
            a = self._attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), future)
            a = a.transpose(1, 2).reshape(rows * length, -1)
            x = x + out(a if where is None else _Pick.apply(a, where))
            x = x + down(_Gate.apply(gate_up(_Norm.apply(x, norm2, self.eps))))
        x = _Norm.apply(x, self.norm, self.eps)
        return (x if where is None else _Spread.apply(x, where, rows * length)).view(rows, length, -1)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, future: Tensor) -> Tensor:
        if q.device.type == "cpu" and q.shape[2] < PLAIN_ATTENTION_BELOW:
            if self.heads != self.kv:
                k, v = (t.repeat_interleave(self.heads // self.kv, 1) for t in (k, v))
            scores = (q * self.width**-0.5) @ k.transpose(2, 3) + future
            return scores.softmax(-1) @ v
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv)


def _projection(linears: Sequence[Any], adapter: str | None, merge: bool, dtype: torch.dtype) -> Projection:
    weights = _weights(linears)
    adapted = [x for x in linears if adapter is not None and adapter in getattr(x, "lora_A", {})]
    if not adapted:
        weight = joined(weights, dtype)
        return Projection(weight, False, 1.0, (), (), weight[:0], weight[:0])
    if len(adapted) != len(linears):
        raise ValueError("an adapter must sit on all linear layers that read the same input, or on none of them")
    downs = tuple(x.lora_A[adapter].weight for x in adapted)
    ups = tuple(x.lora_B[adapter].weight for x in adapted)
    scale = adapted[0].scaling[adapter]
    down, up = torch.cat(downs), torch.block_diag(*ups) * scale
    base = joined(weights, up.dtype if merge else dtype)
    weight = torch.addmm(base, up, down).to(dtype) if merge else base
    if merge and not downs[0].requires_grad:
        downs = ups = ()
    return Projection(weight, merge, scale, downs, ups, down.to(dtype), up.to(dtype))


def joined(weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Weights [out_i, in] one below the other; no copy where `settle` has laid them so."""
    if len(weights) > 1 and weights[0].dtype == dtype and _side_by_side(weights):
        first = weights[0].data
        return first.as_strided((sum(map(len, weights)), first.shape[1]), first.stride(), 0)
    return (torch.cat(list(weights)) if len(weights) > 1 else weights[0]).to(dtype)

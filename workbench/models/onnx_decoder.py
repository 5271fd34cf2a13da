"""A small Llama on a CPU as one ONNX graph: a step is one call, where torch needs about 130 small ones.

On the bundled model a step of 8 rows takes PyTorch longer to arrange than to compute, and its matrix products do not
use all that a processor has (MKL on AMD). onnxruntime runs the same float32 arithmetic, 11 nodes a layer, on weights
that it lays out once for its products. A session belongs to the weights it was built from: before each use they are
compared number by number (0.2 ms for 1.7 million), so a policy that training has moved gets a session of its own.

Nothing is compiled; without the packages `onnx` and `onnxruntime` decoders.py runs its plain Llama.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from importlib.util import find_spec
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from workbench.models import Model

BELOW = 32_000_000  # weights; each session holds two copies of them
SESSIONS = 3  # a model's: the base, and two adapters to compare it with
ONE_THREAD = 4_000_000  # weights; below, a second thread waits more than it helps
KINDS = {torch.float32: np.float32, torch.int32: np.int32, torch.int64: np.int64}

_sessions: WeakKeyDictionary[Model, OrderedDict[Hashable, tuple[list[np.ndarray], Any]]] = WeakKeyDictionary()


def why_not_onnx(model: Model) -> str | None:
    """Why a Llama is not run by onnxruntime; None when it is."""
    hf, config = model.hf, model.hf.config
    if model.device.type != "cpu" or hf.dtype != torch.float32:
        return "onnxruntime is used for float32 on a CPU"
    if sum(p.numel() for p in hf.parameters()) >= BELOW:
        return f"onnxruntime is used below {BELOW:,} weights"
    if (getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads) % 16:
        return "onnxruntime rotates only heads whose width is a multiple of 16"
    if not (find_spec("onnx") and find_spec("onnxruntime")):
        return "onnx and onnxruntime are not installed"
    return None


class OnnxDecoder:
    """The decoder's three calls (decoders.py) for rows of one adapter.

    Rows are padded on the right inside, and each looks at its own length only. The cache is torch's memory, which
    onnxruntime reads and extends in place.
    """

    def __init__(
        self,
        model: Model,
        key: Hashable,
        source: list[Tensor],
        weights: Callable[[], dict[str, Tensor]],
        rotation: tuple[Tensor, Tensor],
    ) -> None:
        """`source`: every tensor that the adapter `key` reads; `weights()`: what `_graph` names, made of them;
        `rotation`: cos and sin [room, width / 2]."""
        self.session = _session(model, key, source, weights)
        self.config = model.hf.config
        self.reason = "a small Llama on a CPU: run by onnxruntime"
        self.cos, self.sin = rotation
        self.room = len(self.cos)
        self.names = [f"{part}{i}" for part in "kv" for i in range(self.config.num_hidden_layers)]

    def start(self, ids: Tensor, mask: Tensor) -> Tensor:
        rows, real = len(ids), mask.sum(1)
        heads, width = self.config.num_key_value_heads, 2 * self.cos.shape[1]
        # keys of every layer, then values: whatever a row has seen is moved at once
        self.cache = torch.empty(2 * self.config.num_hidden_layers, rows, heads, self.room, width)
        self.ids, self.last = torch.zeros(rows, 1, dtype=torch.long), torch.arange(rows)
        self.seqlens_k, self.total = (
            (real - 1).int(),
            torch.zeros((), dtype=torch.int32),
        )  # a row's last place; the most + 1
        self.logits = torch.empty(rows, self.config.vocab_size)
        # rows come in order of length: a few at a time, so that little of what is computed is padding
        few = max(4, rows // 8)
        for part in (slice(k, k + few) for k in range(0, rows, few)):
            lengths = real[part]
            longest = int(lengths.max())
            right = torch.zeros(len(lengths), longest, dtype=torch.long)
            right[torch.arange(longest) < lengths[:, None]] = ids[part][mask[part].bool()]  # both are read row by row
            self.total.fill_(longest)
            self._run(self._bound(part, right, torch.arange(len(lengths)) * longest + lengths - 1))
        self.longest = int(real.max())
        self.binding = self._bound(slice(rows), self.ids, self.last)
        return self.logits

    def step(self, tokens: Tensor) -> Tensor:
        self.ids[:, 0] = tokens
        self.seqlens_k += 1
        self.longest += 1
        self.total.fill_(self.longest)
        self._run(self.binding)
        return self.logits

    def keep(self, index: Tensor) -> None:
        rows = len(index)
        targets = [k for k, row in enumerate(index.tolist()) if k != row]
        if targets:
            self.cache[:, targets, :, : self.longest] = self.cache[:, index[targets], :, : self.longest]
        self.seqlens_k[:rows] = self.seqlens_k[index]
        self.seqlens_k, self.ids, self.last, self.logits = (
            x[:rows] for x in (self.seqlens_k, self.ids, self.last, self.logits)
        )
        self.binding = self._bound(slice(rows), self.ids, self.last)

    def _run(self, binding: Any) -> None:
        self.session.run_with_iobinding(binding)

    def _bound(self, rows: slice, ids: Tensor, last: Tensor) -> Any:
        """Tell onnxruntime where these rows' numbers lie; `bound` keeps that memory alive until the next time."""
        caches = dict(zip(self.names, self.cache[:, rows], strict=True))
        inputs = {"ids": ids, "last": last, "seqlens_k": self.seqlens_k[rows], "total": self.total}
        inputs |= {"cos": self.cos, "sin": self.sin} | caches
        outputs = {"logits": self.logits[rows]} | {f"new_{name}": cache for name, cache in caches.items()}
        self.bound = inputs, outputs
        binding = self.session.io_binding()
        for bind, tensors in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, tensor in tensors.items():
                bind(name, "cpu", 0, KINDS[tensor.dtype], tuple(tensor.shape), tensor.data_ptr())
        return binding


def _session(model: Model, key: Hashable, source: list[Tensor], weights: Callable[[], dict[str, Tensor]]) -> Any:
    sessions = _sessions.setdefault(model, OrderedDict())
    # bits, so that a NaN equals itself
    now = [t.detach().float().contiguous().numpy().view(np.int32) for t in source]
    previous, session = sessions.pop(key, (None, None))
    if previous is None or len(previous) != len(now) or not all(map(np.array_equal, previous, now)):
        previous, session = [array.copy() for array in now], _build(model.hf.config, weights())
    sessions[key] = previous, session
    while len(sessions) > SESSIONS:
        sessions.popitem(last=False)
    return session


def _build(config: Any, weights: dict[str, Tensor]) -> Any:
    import onnxruntime

    arrays = {name: tensor.detach().contiguous().numpy() for name, tensor in weights.items()}
    options = onnxruntime.SessionOptions()
    small = sum(array.size for array in arrays.values()) < ONE_THREAD
    options.intra_op_num_threads = 1 if small else torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others want the cores too
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # the graph is fused already
    options.log_severity_level = 3
    data = b"".join(array.data.cast("B") for array in arrays.values())
    options.add_external_initializers_from_files_in_memory(["weights"], [data], [len(data)])
    graph = _graph(config, {name: array.shape for name, array in arrays.items()})
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _graph(config: Any, shapes: dict[str, tuple[int, ...]]) -> bytes:
    """The model as ONNX: ids [rows, new] -> logits [rows, vocabulary] of the flat places `last`.

    GroupQueryAttention turns queries and keys, writes them behind what a row has seen, and looks at no more than that.
    """
    from onnx import TensorProto, helper

    nodes: list[Any] = []

    def node(
        kind: str, inputs: list[str], outputs: str | list[str], domain: str = "com.microsoft", **options: Any
    ) -> None:
        outputs = [outputs] if isinstance(outputs, str) else outputs
        nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **options))

    def product(x: str, weight: str, y: str) -> None:
        node("FusedMatMul", [x, weight], y, transB=1)

    def value(name: str, kind: int, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    eps, layers = config.rms_norm_eps, config.num_hidden_layers
    heads = {"num_heads": config.num_attention_heads, "kv_num_heads": config.num_key_value_heads}
    node("Gather", ["embed", "ids"], "x0", domain="")
    node("SimplifiedLayerNormalization", ["x0", "norm1_0"], "h0", domain="", axis=-1, epsilon=eps, stash_type=1)
    for i in range(layers):
        product(f"h{i}", f"qkv{i}", f"q{i}")
        cache = [f"k{i}", f"v{i}"]
        read = [f"q{i}", "", "", *cache, "seqlens_k", "total", "cos", "sin"]
        node("GroupQueryAttention", read, [f"a{i}", *(f"new_{c}" for c in cache)], do_rotary=1, **heads)
        if i + 1 == layers:  # from here on only the last token of a row matters
            for name in (f"a{i}", f"x{i}"):
                node("Reshape", [name, f"flat_{name[0]}"], f"flat_{name}", domain="")
                node("Gather", [f"flat_{name}", "last"], f"last_{name}", domain="")
        a, x = (f"last_a{i}", f"last_x{i}") if i + 1 == layers else (f"a{i}", f"x{i}")
        product(a, f"out{i}", f"b{i}")
        added = [f"g{i}", "", "", f"y{i}"]
        node("SkipSimplifiedLayerNormalization", [x, f"b{i}", f"norm2_{i}"], added, epsilon=eps)
        product(f"g{i}", f"gate{i}", f"c{i}")
        product(f"g{i}", f"up{i}", f"u{i}")
        node("QuickGelu", [f"c{i}"], f"s{i}", alpha=1.0)  # x * sigmoid(x), which is SiLU
        node("Mul", [f"s{i}", f"u{i}"], f"t{i}", domain="")
        product(f"t{i}", f"down{i}", f"d{i}")
        added = [f"h{i + 1}", "", "", f"x{i + 1}"] if i + 1 < layers else [f"h{i + 1}"]
        node("SkipSimplifiedLayerNormalization", [f"y{i}", f"d{i}", f"norm1_{i + 1}"], added, epsilon=eps)
    product(f"h{layers}", "head", "logits")

    number, place, count = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32
    width = shapes["qkv0"][0] // (config.num_attention_heads + 2 * config.num_key_value_heads)
    inputs = [value("ids", place, "rows", "new"), value("last", place, "rows"), value("seqlens_k", count, "rows")]
    inputs += [value("total", count), *(value(name, number, "room", width // 2) for name in ("cos", "sin"))]
    cached = [f"{part}{i}" for i in range(layers) for part in "kv"]
    shape = ("rows", config.num_key_value_heads, "room", width)
    inputs += [value(name, number, *shape) for name in cached]
    outputs = [value("logits", number, "rows", config.vocab_size)]
    outputs += [value(f"new_{name}", number, *shape) for name in cached]
    graph = helper.make_graph(nodes, "llama", inputs, outputs)
    for name, size in (("flat_a", config.num_attention_heads * width), ("flat_x", config.hidden_size)):
        graph.initializer.append(helper.make_tensor(name, place, [2], [-1, size]))
    offset = 0
    for name, dims in shapes.items():
        length = 4 * int(np.prod(dims))
        tensor = graph.initializer.add(name=name, data_type=number, dims=dims, data_location=TensorProto.EXTERNAL)
        for key, text in (("location", "weights"), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(text))
        offset += length
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model: bytes = helper.make_model(graph, opset_imports=domains, ir_version=10).SerializeToString()
    return model

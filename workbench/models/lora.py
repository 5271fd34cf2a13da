"""LoRA layers as PEFT lays them into a model: which linear layers get one, and which adapter speaks in a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from workbench.models import Model

Layers = list[tuple[str, Any]]  # (dotted name in the base, PEFT's layer)


def layers(model: Model) -> Layers:
    """All layers of the base that hold a LoRA of any adapter; looked for again only when the adapters have changed."""
    if model.peft is None:
        return []
    configs = list(model.peft.peft_config.values())
    previous: list[Any]
    adapted: Layers
    previous, adapted = model.layer_cache.get("layers", ([], []))
    if len(previous) != len(configs) or any(a is not b for a, b in zip(previous, configs, strict=True)):
        adapted = find(model.hf)
        model.layer_cache["layers"] = configs, adapted
    return adapted


def find(hf: Any) -> Layers:
    """The layers that hold a LoRA now."""
    # a look at `_modules` instead of hasattr: nn.Module answers that with an exception, hundreds of them each time
    return [(name, module) for name, module in hf.named_modules() if "lora_A" in module._modules]


def mixes(model: Model) -> bool:
    """Whether rows of one batch may speak through different adapters of this model.

    PEFT deals out a layer's input row by row. That fails where the model lays rows end to end before a layer (OPT),
    deals tokens out to experts, or has LoRA on a parameter that is no linear layer. Two short rows show which it is.
    """
    own = layers(model)
    answer: bool
    previous, answer = model.layer_cache.get("mixes", (None, True))
    if not own or previous is own:
        return answer
    rows = torch.zeros(2, 3, dtype=torch.long, device=model.device)
    batched: set[str] = set()

    def see(name: str, x: torch.Tensor) -> None:
        if x.ndim == 3 and len(x) == len(rows):
            batched.add(name)

    linear = [(name, layer) for name, layer in own if not hasattr(layer, "parameter_name")]
    hooks = [layer.register_forward_pre_hook(lambda _, x, name=name: see(name, x[0])) for name, layer in linear]
    try:
        with torch.inference_mode(), model.lock, speaking(own, None):
            model.hf(input_ids=rows, use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    answer = len(batched) == len(own)
    model.layer_cache["mixes"] = own, answer
    return answer


@contextmanager
def speaking(layers: Layers, adapter: str | None) -> Iterator[None]:
    """Within it the base's own forward speaks through one adapter, None = none; no weight's gradient is touched.

    PEFT's `set_adapter` would turn gradients on and off, and its `adapter_names` work for linear layers alone.
    """
    active = [layer._active_adapter for _, layer in layers]
    for _, layer in layers:
        layer._active_adapter = [] if adapter is None else [adapter]
    try:
        yield
    finally:
        for (_, layer), before in zip(layers, active, strict=True):
            layer._active_adapter = before


@contextmanager
def strengths(layers: Layers, factors: dict[str, float]) -> Iterator[None]:
    """Within it the named adapters' scales are those they were trained with times these factors."""
    changed = {name: strength for name, strength in factors.items() if strength != 1}
    before = [{name: layer.scaling[name] for name in changed if name in layer.scaling} for _, layer in layers]
    for (_, layer), scales in zip(layers, before, strict=True):
        layer.scaling.update({name: scale * changed[name] for name, scale in scales.items()})
    try:
        yield
    finally:
        for (_, layer), scales in zip(layers, before, strict=True):
            layer.scaling.update(scales)


def targets(hf: Any) -> tuple[str | list[str], str | None]:
    """(`target_modules` of a new adapter on a causal model, what to tell about it).

    All linear layers but the output layer. Of a model that also sees or hears, those of its language model. Of a mixture
    of experts, those of the attention: PEFT would rebuild the weights of all experts at every pass, and keep them for
    the backward pass, a second copy of nearly the whole model.
    """
    decoder, output = hf.get_decoder(), hf.get_output_embeddings()
    names = {module: name for name, module in hf.named_modules()}
    prefix = f"{names[decoder]}." if names.get(decoder) else ""
    inside = [(name, part) for name, part in decoder.named_modules() if part is not output and _linear(part)]
    if _has_experts(decoder):
        attentions = [name for name, part in decoder.named_modules() if "attention" in type(part).__name__.lower()]
        adapted = [name for name, _ in inside if name.startswith(tuple(f"{a}." for a in attentions))]
        return _leaves(adapted), (
            "The model is a mixture of experts: the adapter sits on its attention layers alone. PEFT would rebuild "
            "the weights of all experts at every step."
        )
    if hf.config.get_text_config() is not hf.config:
        leaves = "|".join(_leaves([name for name, _ in inside]))
        return rf"{prefix.replace('.', '[.]')}(.*[.])?({leaves})", (
            "The model reads more than text: the adapter sits on its language model alone."
        )
    return "all-linear", None


def _linear(part: Any) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(part, torch.nn.Linear | Conv1D)


def _leaves(names: Sequence[str]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in names})


def _has_experts(decoder: Any) -> bool:
    """Whether tokens are dealt out to experts: weights of several matrices each, or a list of modules of that name."""
    stacked = any(weight.ndim == 3 for weight in decoder.parameters())
    return stacked or any(name.endswith(".experts") for name, _ in decoder.named_modules())

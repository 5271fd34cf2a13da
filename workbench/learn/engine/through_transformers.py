"""Causal models that the hand-written forward does not fit, run by transformers and PEFT for PPO."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from workbench.models import Model, decoders
from workbench.models.llama import OutputLayer

PROBE = "What is the weather like today, and what should I wear?"
SCALES = (
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
)  # Cohere, Granite, Falcon-H1; which of them divides is tried
CAPS = ("final_logit_softcapping", "logits_soft_cap")  # Gemma 2, RecurrentGemma


class ThroughTransformers:
    """transformers' forward with PEFT's adapters, one batch at a time. `output` None: the logits are the model's own."""

    def __init__(self, model: Model, adapter: str | None, output: OutputLayer | None) -> None:
        self.model, self.adapter, self.output = model, adapter, output

    def hidden(self, ids: Tensor, where: Tensor | None = None) -> Tensor:
        """Token ids [B, T], padded on the right -> what the output layer reads [B, T, H], float32; padding runs along."""
        return self._run(ids, 1)[0]

    def hidden_and_logits(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the logits [B, T, V] of every place, float32: B T V numbers at once."""
        return self._run(ids, 0)

    def _run(self, ids: Tensor, logits: int) -> tuple[Tensor, Tensor]:
        call = {"input_ids": ids, "use_cache": False, "logits_to_keep": logits}
        with decoders.last_hidden(self.model.hf) as states:
            last = decoders.forward(self.model, [(self.adapter, 1.0)] * len(ids), **call).logits
        return states[0].float(), last.float()


@torch.no_grad()
def output_layer(model: Model) -> OutputLayer | None:
    """How `model` makes logits of its last hidden state: its bias, scale and soft cap. None where no such layer does.

    The configuration proposes scales and caps, under names whose meaning differs between models; what is taken is
    what reproduces the model's own logits at every place of a text, to rounding.
    """
    layer = model.hf.get_output_embeddings()
    if type(layer) is not torch.nn.Linear:
        return None
    ids = torch.tensor([model.prompt_ids(PROBE)], device=model.device)
    hidden, own = ThroughTransformers(model, None, None).hidden_and_logits(ids)
    config = model.hf.config.get_text_config()
    scales = [s for name in SCALES if (value := getattr(config, name, None)) for s in (float(value), 1 / float(value))]
    caps = [float(value) for name in CAPS if (value := getattr(config, name, None))]
    layers = [OutputLayer(layer.weight, layer.bias, s, cap) for s, cap in product([1.0, *scales], [None, *caps])]
    best = min(layers, key=lambda one: _distance(one.logits(hidden[0]), own[0]))
    rounding = max(1e-5, torch.finfo(layer.weight.dtype).eps)
    return best if _distance(best.logits(hidden[0]), own[0]) <= rounding else None


def _distance(logits: Tensor, own: Tensor) -> float:
    """Root mean square of the difference at the place where it is largest, by that of the model's own; inf if not finite."""
    if not own.isfinite().all():
        return float("inf")
    return float(((logits - own).square().mean(-1) / own.square().mean(-1)).sqrt().max())

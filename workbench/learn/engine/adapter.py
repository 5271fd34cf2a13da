"""The LoRA adapter that a run trains on the frozen base: made, saved, and the rest proven unchanged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from workbench import models
from workbench.learn.catalogue import TrainArgs
from workbench.models import lora

SAMPLED = 16_384  # values of a large weight that are hashed
POLICY, START = "default", "ref"  # adapters: the one trained, and where it began (TRL's names)


def with_adapter(model: models.Model, args: TrainArgs, start: Path | None = None) -> PeftModel:
    """The model with the adapter to train: a fresh one, or a copy of the one in the folder `start`, which is then there
    a second time as START, frozen."""
    settle_base(model.hf)
    if start is None:
        config = LoraConfig(
            r=args.lora_rank,
            lora_alpha=args.lora_alpha,
            lora_dropout=args.lora_dropout,
            target_modules=lora.targets(model.hf)[0],
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model.hf, config, adapter_name=POLICY)
    peft = PeftModel.from_pretrained(model.hf, str(start), adapter_name=POLICY, is_trainable=True)
    peft.load_adapter(str(start), adapter_name=START, is_trainable=False)
    peft.set_adapter(POLICY)
    return peft


def settle_base(hf: Any) -> None:
    """Leave nothing in a frozen base that only its own training wanted: its dropout, and the loss that balances experts.

    TRL turns off dropout modules at most; OPT and others call the function with a number of their own.
    """
    for module in hf.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and type(value) is float:
                setattr(module, name, 0.0)
    config = hf.config.get_text_config()
    if hasattr(config, "router_aux_loss_coef"):
        config.router_aux_loss_coef = 0.0  # the routers are frozen: it would bend the attention instead


def save_adapter(peft: PeftModel, folder: Path, base: str, write_beside: Callable[[Path], None] | None = None) -> None:
    """The trained adapter alone, as safetensors, complete or not at all; nothing pickled lies beside it."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    state = get_peft_model_state_dict(peft, adapter_name=POLICY, save_embedding_layers=False)
    save_file({k: v.contiguous() for k, v in state.items()}, fresh / "adapter_model.safetensors", {"format": "pt"})
    config = peft.peft_config[POLICY]
    previous, config.base_model_name_or_path = config.base_model_name_or_path, base
    config.save_pretrained(str(fresh))
    config.base_model_name_or_path = previous
    if write_beside:
        write_beside(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def frozen_hash(peft: PeftModel) -> str:
    """The number format and a hash of every weight that must not change, START's too: "float32:9f...".

    Of large ones SAMPLED values spread over them are hashed, which makes it cheap enough for every checkpoint: an
    optimizer or a reload changes nearly all values. One altered value may be missed.
    """
    formats, digest = set(), blake2b(digest_size=16)
    for name, weight in sorted(peft.named_parameters(), key=lambda item: item[0]):
        if not weight.requires_grad or f".{START}." in name:  # PEFT may hold a frozen adapter's weights trainable
            formats.add(str(weight.dtype).removeprefix("torch."))
            flat = weight.detach().reshape(-1)
            flat = flat[:: flat.numel() // SAMPLED] if flat.numel() > 4 * SAMPLED else flat
            digest.update(name.encode() + flat.contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return f"{'+'.join(sorted(formats))}:{digest.hexdigest()}"

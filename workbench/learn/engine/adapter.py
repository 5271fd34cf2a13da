"""The LoRA adapter that a run trains on the frozen base: made, saved, and the rest proven unchanged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from workbench import models
from workbench.learn.catalogue import TrainArgs

POLICY, START = "default", "ref"  # adapters: the one trained, and where it began (TRL's names)


def with_adapter(model: models.Model, args: TrainArgs, start: Path | None = None) -> PeftModel:
    """The model with the adapter to train: a fresh one, or a copy of the one in the folder `start`, which is then there
    a second time as START, frozen."""
    if start is None:
        config = LoraConfig(
            r=args.lora_rank,
            lora_alpha=args.lora_alpha,
            lora_dropout=args.lora_dropout,
            target_modules="all-linear",  # all but the output layer
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model.hf, config, adapter_name=POLICY)
    peft = PeftModel.from_pretrained(model.hf, str(start), adapter_name=POLICY, is_trainable=True)
    peft.load_adapter(str(start), adapter_name=START, is_trainable=False)
    peft.set_adapter(POLICY)
    return peft


def save_adapter(peft: PeftModel, folder: Path, base: str, beside: Callable[[Path], None] | None = None) -> None:
    """The trained adapter alone, as safetensors, complete or not at all; nothing pickled lies beside it."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    state = get_peft_model_state_dict(peft, adapter_name=POLICY, save_embedding_layers=False)
    save_file({k: v.contiguous() for k, v in state.items()}, fresh / "adapter_model.safetensors", {"format": "pt"})
    config = peft.peft_config[POLICY]
    was, config.base_model_name_or_path = config.base_model_name_or_path, base
    config.save_pretrained(str(fresh))
    config.base_model_name_or_path = was
    if beside:
        beside(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def frozen_hash(peft: PeftModel) -> str:
    """A hash of every weight that must not change, START's too; of large ones, of 65,536 values spread over them."""
    digest = blake2b(digest_size=16)
    for name, weight in sorted(peft.named_parameters(), key=lambda named: named[0]):
        if not weight.requires_grad or f".{START}." in name:  # PEFT may hold a frozen adapter's weights trainable
            flat = weight.detach().reshape(-1)
            flat = flat[:: max(1, flat.numel() // 65_536)] if flat.numel() > 1_000_000 else flat
            digest.update(name.encode() + flat.contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()

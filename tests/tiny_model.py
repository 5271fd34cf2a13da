"""A randomly initialised Llama of a few thousand weights with a tokenizer of its own, and LoRA adapters for it."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIALS = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """One token per byte, so that every text can be said."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*SPECIALS, *letters])}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=SPECIALS[0], eos_token=SPECIALS[1])
    fast.add_special_tokens({"additional_special_tokens": SPECIALS[2:]})
    fast.chat_template = template
    return fast


def base(folder: Path, seed: int = 0, template: str | None = TEMPLATE, **changes) -> Path:
    """Write the model to `folder`. Weights are large enough that its answers differ from prompt to prompt."""
    fast = tokenizer(template)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"eos_token_id": fast.eos_token_id, "pad_token_id": fast.pad_token_id, "bos_token_id": None}
    config = LlamaConfig(
        **{"vocab_size": len(fast), "max_position_embeddings": 256, "initializer_range": 0.4} | shape | ends | changes
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def adapter(base_folder: Path, folder: Path, seed: int = 0, targets: object = "all-linear", **changes) -> Path:
    """Write a LoRA adapter with random weights, B too, to `folder`."""
    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM", **changes)
    peft = get_peft_model(AutoModelForCausalLM.from_pretrained(base_folder), config)
    for name, weight in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.15)
    peft.save_pretrained(folder)
    return folder

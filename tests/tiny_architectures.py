"""Randomly initialised models of many architectures, each of a few thousand weights, with the tokenizer of tiny_model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from tests import tiny_model

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.3}
MOE = SHAPE | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
GEMMA = SHAPE | {"head_dim": 8, "tie_word_embeddings": False}  # tied, it would say its last token again and again
LOCAL = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
FALCON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
DEEPSEEK = {"q_lora_rank": 16, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}

# name -> (class of the configuration, what it is given)
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaConfig", SHAPE),
    "Llama with biases": ("LlamaConfig", SHAPE | {"attention_bias": True, "mlp_bias": True}),
    "Qwen2": ("Qwen2Config", SHAPE),
    "Qwen3": ("Qwen3Config", SHAPE | {"head_dim": 8}),
    "Gemma": ("GemmaConfig", GEMMA),
    "Gemma 2": ("Gemma2Config", GEMMA | LOCAL | {"query_pre_attn_scalar": 8}),
    "Gemma 3 text": ("Gemma3TextConfig", GEMMA | LOCAL | {"query_pre_attn_scalar": 8}),
    "Gemma 3 multimodal": ("Gemma3Config", {}),  # see `config`
    "Mistral with a window": ("MistralConfig", SHAPE | {"sliding_window": 8, "head_dim": 8}),
    "Phi": ("PhiConfig", SHAPE),
    "Phi-3": ("Phi3Config", SHAPE),
    "SmolLM3": ("SmolLM3Config", SHAPE | {"no_rope_layers": [1, 0]}),
    "GPT-2": ("GPT2Config", GPT),
    "GPT-NeoX": ("GPTNeoXConfig", SHAPE),
    "GPT-J": ("GPTJConfig", GPT | {"rotary_dim": 4}),
    "GPT-Neo": (
        "GPTNeoConfig",
        {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 128, "initializer_range": 0.3}
        | {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    ),
    "OLMo2": ("Olmo2Config", SHAPE),
    "Falcon with ALiBi": ("FalconConfig", FALCON | {"alibi": True, "new_decoder_architecture": False}),
    "Falcon with rotary positions": ("FalconConfig", FALCON | {"alibi": False}),
    "OPT": ("OPTConfig", SHAPE | {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.3}),
    "OPT with a projection": (
        "OPTConfig",
        SHAPE | {"ffn_dim": 48, "word_embed_proj_dim": 16, "init_std": 0.3, "do_layer_norm_before": False},
    ),
    "BLOOM": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}),
    "MPT": ("MptConfig", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 128, "initializer_range": 0.3}),
    "StableLM": ("StableLmConfig", SHAPE),
    "Cohere": ("CohereConfig", SHAPE),
    "Granite": ("GraniteConfig", SHAPE | {"logits_scaling": 2.0, "residual_multiplier": 0.5}),
    "Mixtral": ("MixtralConfig", SHAPE | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "Qwen2-MoE": ("Qwen2MoeConfig", MOE | {"shared_expert_intermediate_size": 24}),
    "Qwen3-MoE": ("Qwen3MoeConfig", MOE | {"head_dim": 8}),
    "OLMoE": ("OlmoeConfig", MOE),
    "DeepSeek-V3": (
        "DeepseekV3Config",
        SHAPE
        | DEEPSEEK
        | {"num_key_value_heads": 4, "n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2}
        | {"moe_intermediate_size": 24, "n_shared_experts": 1, "first_k_dense_replace": 1},
    ),
    "gpt-oss": (
        "GptOssConfig",
        SHAPE | LOCAL | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
}


def config(name: str, tokenizer: Any) -> Any:
    kind, shape = ARCHITECTURES[name]
    ends = {"eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None, "vocab_size": len(tokenizer)}
    if kind == "Gemma3Config":
        text = config("Gemma 3 text", tokenizer).to_dict() | {"max_position_embeddings": 96}
        vision = VISION | {"image_size": 16, "patch_size": 8}
        return transformers.Gemma3Config(
            text_config=text, vision_config=vision, mm_tokens_per_image=4, tie_word_embeddings=False
        )
    return getattr(transformers, kind)(**shape, **ends)


def build(name: str, folder: Path, seed: int = 0, template: str | None = tiny_model.TEMPLATE) -> Path:
    """Write a model of that architecture to `folder`."""
    tokenizer = tiny_model.tokenizer(template)
    torch.manual_seed(seed)
    settings = config(name, tokenizer)
    auto = transformers.AutoModelForCausalLM
    hf = auto.from_config(settings)
    with torch.no_grad():
        for weight in hf.parameters():  # biases and the like start at 0: they would hide mistakes
            if weight.abs().max() == 0:
                torch.nn.init.normal_(weight, std=0.2)
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

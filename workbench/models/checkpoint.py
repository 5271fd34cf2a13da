"""A model's files before and after they are loaded: what is refused, and in which words. Imports no torch by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workbench import settings
from workbench.models.errors import ModelError

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "*.tiktoken")
INDEX = "model.safetensors.index.json"
# They keep a running state, or nothing at all, between tokens: generation passes them a cache of keys and values.
NO_CACHE = ("openai-gpt", "xlnet", "mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm", "blt")
SHOWN = 4  # weights named in a message


def available() -> list[str]:
    """Models that can be loaded without a network: the bundled one and those in the Hugging Face cache."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    names = ["sandbox"] if (settings.SANDBOX / "config.json").is_file() else []
    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return names
    repositories = {
        r.repo_id for r in repos for v in r.revisions for f in v.files if f.file_name.endswith(".safetensors")
    }
    return names + sorted(repositories)


def offer() -> str:
    """What else can be loaded here, as a sentence."""
    names = available()
    return f"Available here: {', '.join(names)}." if names else "No other model is on this machine."


# Before the weights are read


def check_folder(folder: Path, name: str) -> None:
    """Raises ModelError for a folder that is no model's, and for weights that are pickled, incomplete or damaged."""
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(f"{name} is an adapter, not a model. Name the model it was trained on. {offer()}")
        raise ModelError(f"{name}: {folder} holds no config.json, so it is not a model folder. {offer()}")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = [file.name for pattern in PICKLES for file in sorted(folder.glob(pattern))]
        if pickles:
            raise ModelError(
                f"{name}: its weights are a pickle ({pickles[0]}), which can run code when opened, so they are refused. "
                "Save them as safetensors first: model.save_pretrained(FOLDER)."
            )
        raise ModelError(f"{name}: {folder} holds no *.safetensors weights. {offer()}")
    _check_shards(folder, name)
    for file in weights:
        check_whole(file, name)


def check_whole(file: Path, name: str) -> None:
    """Raises ModelError for a safetensors file of `name` that is damaged: shorter, longer or other than it says."""
    try:
        settings.safetensors_header(file)
    except ValueError as error:
        raise ModelError(f"{name}: {error}. Download or copy it again.") from error


def _check_shards(folder: Path, name: str) -> None:
    index = folder / INDEX
    if not index.is_file():
        parts = sorted(folder.glob("model-*-of-*.safetensors"))
        if parts and not (folder / "model.safetensors").is_file():
            raise ModelError(
                f"{name}: its weights are in {len(parts)} files, but {INDEX}, which lists them, is missing."
            )
        return
    try:
        listed = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{name}: {INDEX} is damaged. Download or copy the model again.") from error
    missing = [file for file in listed if not (folder / file).is_file()]
    if missing:
        raise ModelError(
            f"{name}: {len(missing)} of the {len(listed)} files with its weights are missing: {listing(missing)}. "
            "Download or copy the model again."
        )


def check_architecture(config: Any, name: str) -> None:
    """Raises ModelError for an architecture that does not continue a text token by token. Needs the config alone."""
    from transformers.models.auto import modeling_auto as auto

    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        why = "has an encoder and a decoder; the workbench aligns models that only continue a text (decoders)"
    elif kind in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
        why = "fills gaps in a text and cannot continue one, so it cannot answer"
    elif kind in NO_CACHE:
        why = "keeps no cache of attention keys and values, which answering needs here"
    elif kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or hasattr(config, "auto_map"):
        return
    elif kind in auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        why = "reads images as well as text, in a form that transformers does not load as a text model"
    else:
        why = "is not a language model that transformers can continue a text with"
    raise ModelError(f"{name} cannot be used: {kind} {why}. {offer()}")


# After the weights were read


def check_loaded(hf: Any, info: dict[str, Any], name: str) -> None:
    """Refuse a model whose weights are not those of its checkpoint; `info` is transformers' loading info.

    Weights that the checkpoint lacks would be random. Weights that it has too many are refused where they belong to
    layers that were built, or to layers beyond those: then config.json does not describe this checkpoint.
    """
    kind = type(hf).__name__
    mismatched = sorted(info["mismatched_keys"])
    if mismatched:
        key, stored, built = mismatched[0]
        raise ModelError(
            f"{name}: its config.json does not fit its weights: {key} has the shape {list(stored)}, and {kind} wants "
            f"{list(built)} ({len(mismatched)} such weight{'s' * (len(mismatched) > 1)})."
        )
    missing, unexpected = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    if missing:
        rest = f" It holds {listing(unexpected)} instead, for which {kind} has no place." if unexpected else ""
        raise ModelError(
            f"{name}: its checkpoint lacks {len(missing)} of {len(hf.state_dict())} weights, which would be random: "
            f"{listing(missing)}.{rest}"
        )
    dropped = [key for key in unexpected if _belongs(key, hf)]
    if dropped:
        raise ModelError(
            f"{name}: its config.json does not fit its weights: {kind} would be built without "
            f"{len(dropped)} of them: {listing(dropped)}."
        )


def _belongs(key: str, hf: Any) -> bool:
    """Whether a left-over weight is part of a layer that was built, or of a further one in a stack of layers.

    What such a layer computes for itself (rotary frequencies, masks) was stored by older versions and is no weight.
    """
    modules = dict(hf.named_modules())
    parent, _, last = key.rpartition(".")
    prefix = f"{hf.base_model_prefix}."

    def built(place: str) -> Any:
        return next((modules[p] for p in (place, prefix + place, place.removeprefix(prefix)) if p in modules), None)

    layer = built(parent) if parent else None
    if layer is not None and next(layer.children(), None) is None and last not in dict(layer.named_buffers()):
        return True
    stack = re.match(r"(.+?)\.(\d+)\.", key)
    layers = built(stack[1]) if stack else None
    if stack is None or layers is None or type(layers).__name__ != "ModuleList":
        return False
    return int(stack[2]) >= len(layers)


def listing(names: Iterable[str]) -> str:
    """The first few, and how many more."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


# Code that comes with a model


def check_consent(name: str, trust_remote_code: bool) -> None:
    """Raise ModelError for a model that only code of its own can make, unless that may run. Loads nothing.

    A model without its config.json here is let through: `load` checks it when it has been fetched.
    """
    if not trust_remote_code and needs_own_code(name):
        raise untrusted(name)


def needs_own_code(name: str) -> bool:
    """Whether only code that comes with the model can make it. Loads nothing."""
    config = settings.model_config(name)
    if "AutoModelForCausalLM" not in (config.get("auto_map") or {}):
        return False
    from transformers import CONFIG_MAPPING

    return config.get("model_type") not in CONFIG_MAPPING  # transformers has no code of its own for it


def untrusted(name: str) -> ModelError:
    return ModelError(
        f"{name}: this model comes with its own code, which would run on this machine, so it is refused. If you trust its "
        "author, start again with --trust-remote-code, on the page's command line or the run's."
    )


# Words for what the libraries raise


def one_line(error: BaseException) -> str:
    """The first line of an error's text that says something, closed with a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = lines[1] if lines[0].endswith(":") and len(lines) > 1 else lines[0]  # "Validation failed:", then what did
    return text[:300] if text.endswith((".", "!", "?")) else f"{text[:300]}."


def explain_tokenizer(name: str, error: Exception) -> ModelError | MemoryError:
    """What to raise for an error over the tokenizer of `name`."""
    folder = settings.model_folder(name)
    if folder is not None and not any(next(folder.glob(pattern), None) for pattern in TOKENIZERS):
        return ModelError(f"{name}: its folder holds no tokenizer (tokenizer.json). Copy it from the model's source.")
    if isinstance(error, OSError) and folder is None:
        return explain(name, error)
    if isinstance(error, LookupError | ValueError | TypeError) and "trust_remote_code" not in str(error):
        why = f"it lacks {error}." if isinstance(error, KeyError) else one_line(error)
        return ModelError(f"{name}: its tokenizer could not be read: {why}")
    return explain(name, error)


def explain(name: str, error: Exception, what: str = "could not be loaded") -> ModelError | MemoryError:
    """What to raise for an error that a library raised over the model `name`; `what` failed."""
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return MemoryError(f"{name} does not fit into memory. Use a smaller model.")
    if "trust_remote_code" in text:
        return untrusted(name)
    if isinstance(error, ImportError):
        return ModelError(f"{name} needs a package that is not installed here: {one_line(error)}")
    if type(error).__name__ == "SafetensorError":
        return ModelError(
            f"{name}: its weights are damaged ({one_line(error)[:-1]}). Download or copy the model again."
        )
    if isinstance(error, KeyError) and what == "could not be loaded":
        return ModelError(
            f"{name}: its config.json asks for {error}, which this version of transformers does not know."
        )
    if isinstance(error, OSError) and re.search(r"no file named .*\.safetensors|\.safetensors.* found", text):
        return ModelError(f"{name}: there are no safetensors weights, and pickled weights are refused. {offer()}")
    if isinstance(error, OSError) and not Path(name).is_dir() and "is not a valid JSON" not in text:
        return ModelError(f"{name} is not on this machine and could not be downloaded. {offer()}")
    return ModelError(f"{name} {what}: {one_line(error)}")

"""A base model with its adapters: load, attach, take turns, release. Safetensors only; no remote code without consent.

Importing this module is cheap: torch, transformers and peft are imported when a model is loaded.
"""

from __future__ import annotations

import gc
import json
import os
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench import settings

# What a model without a chat template of its own is spoken to with; trained on by SFT as well, so it must not change.
PLAIN_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}### Answer:\n{{ m['content'] }}{{ eos_token }}\n"
    "{% else %}### Question:\n{{ m['content'] }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Answer:\n{% endif %}"
)
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


class ModelError(ValueError):
    """A model or an adapter that cannot or must not be loaded; the message says what to do."""


class Turns:
    """One forward pass at a time, first come first served, with background work behind everybody else.

    A model holds global state (which adapter is on), so two threads must not run it at once. A turn is one forward
    pass, not one generation: two people's answers grow side by side, and nobody waits for another's batch to end.
    Background work (pairs written ahead for ranking) rests for as long as a foreground generation is under way.
    `with model.lock:` takes a foreground turn for anything else that touches the weights. Not re-entrant.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queues: tuple[deque[object], deque[object]] = (deque(), deque())  # foreground, background
        self._busy = False
        self._foreground = 0

    @contextmanager
    def generation(self, background: bool = False) -> Iterator[None]:
        """Around a whole generation: while a foreground one lasts, background work takes no turn."""
        with self._changed:
            self._foreground += not background
        try:
            yield
        finally:
            with self._changed:
                self._foreground -= not background
                self._changed.notify_all()

    @contextmanager
    def turn(self, background: bool = False) -> Iterator[None]:
        """Around one forward pass."""
        self._take(background)
        try:
            yield
        finally:
            self._give()

    def __enter__(self) -> None:
        self._take(False)

    def __exit__(self, *error: object) -> None:
        self._give()

    def _take(self, background: bool) -> None:
        ticket, queue = object(), self._queues[background]
        with self._changed:
            queue.append(ticket)
            try:
                self._changed.wait_for(lambda: not self._busy and self._next() is ticket)
                self._busy = True
            finally:
                queue.remove(ticket)

    def _next(self) -> object | None:
        foreground, background = self._queues
        if foreground:
            return foreground[0]
        return background[0] if background and not self._foreground else None

    def _give(self) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()


class Model:
    """A base model and the adapters attached to it.

    `hf` is the transformers model, `tokenizer` its tokenizer, `name` what it was asked for by ("sandbox", a folder, a
    Hub name), `device` a torch.device, `lock` the turns at it, `adapters` the attached adapters' names.
    """

    def __init__(self, hf: Any, tokenizer: Any, name: str) -> None:
        self.hf = hf
        self.tokenizer = tokenizer
        self.name = name
        self.device = next(hf.parameters()).device
        self.lock = Turns()
        self.peft: Any = None  # wraps `hf` from the first adapter on
        self._attached: dict[tuple[str, int], str] = {}  # (adapter folder, time of its weights) -> name
        self._attaching = threading.Lock()

    @property
    def adapters(self) -> list[str]:
        return list(self._attached.values())

    @property
    def end_ids(self) -> list[int]:
        """Token ids that end an answer."""
        named = [self.hf.generation_config.eos_token_id, self.tokenizer.eos_token_id]
        ids = [i for item in named if item is not None for i in (item if isinstance(item, list) else [item])]
        return sorted(set(ids))

    @property
    def context(self) -> int:
        """The most tokens, prompt and answer together, that the model was built for."""
        return getattr(self.hf.config, "max_position_embeddings", None) or 2048

    def prompt_ids(self, text: str) -> list[int]:
        """Token ids of a prompt as the chat template frames it, up to where the answer begins."""
        messages = [{"role": "user", "content": text}]
        return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)

    def attach(self, folder: str | Path) -> str:
        """Load the LoRA adapter of a run folder (or of an adapter's own folder) once; return its name.

        An adapter whose file has changed since (a resumed run) is loaded again. Raises ModelError for an adapter made
        for another base (naming both), for pickled weights, and for adapters other than plain LoRA.
        """
        folder = _adapter_folder(Path(folder))
        made_for = _check_adapter(folder, self.name)
        key = (str(folder.resolve()), (folder / "adapter_model.safetensors").stat().st_mtime_ns)
        with self._attaching:
            if key in self._attached:
                return self._attached[key]
            stale = [old for old in self._attached if old[0] == key[0]]
            name = self._free_name(folder)
            from peft import PeftModel

            _check_shapes(folder, self.hf, f"{folder} was made for {made_for} and does not fit {self.name}")
            with self.lock:
                if self.peft is None:
                    self.peft = PeftModel.from_pretrained(self.hf, str(folder), adapter_name=name)
                else:
                    self.peft.load_adapter(str(folder), adapter_name=name, is_trainable=False)
                self.peft.eval()
                self.peft.requires_grad_(False)
                self.peft.base_model.set_adapter([])  # `hf` alone stays the base; rows ask for adapters by name
            for old in stale:
                self._attached.pop(old)  # its weights stay: a generation may be using them
            self._attached[key] = name
            return name

    def adopt(self, peft: Any, *names: str) -> None:
        """Speak through a PEFT model that was wrapped around `hf` elsewhere, with its adapters: what training does."""
        self.peft = peft
        self._attached.update({(f"adopted:{name}", 0): name for name in names})

    def _free_name(self, folder: Path) -> str:
        run = folder.parent if folder.name == "adapter" else folder
        stem = re.sub(r"[^\w-]", "_", run.name) or "adapter"
        taken = set(self._attached.values())
        return next(n for n in (stem, *(f"{stem}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)

    def release(self) -> None:
        """Free the memory; the model cannot be used afterwards."""
        import torch

        with self.lock:
            self.hf = self.peft = None
            self._attached.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def load(name: str, device: str | None = None, dtype: Any = None, trust_remote_code: bool = False) -> Model:
    """Load a base: "sandbox", a folder, or a Hub name (from the cache first, else by download unless offline).

    `dtype` defaults to what suits the device: bf16 weights become float32 on a CPU. Raises ModelError for pickled
    weights, for code that comes with the model (unless `trust_remote_code`), and for a model that is not here.
    """
    import torch
    import transformers

    path = _path(name)
    if isinstance(path, Path):
        _check_folder(path, name)
    device = device or settings.device().value
    dtype = dtype or settings.dtype(device).value
    torch.set_num_threads(settings.threads().value)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    _said("Reading the tokenizer", 0.3)
    try:
        tokenizer = _cached_or_fetched(transformers.AutoTokenizer, str(path), **options)
        _said("Reading the weights", 0.4)
        hf = _cached_or_fetched(
            transformers.AutoModelForCausalLM, str(path), dtype=dtype, use_safetensors=True, **options
        )
    except (OSError, ValueError) as error:
        raise _explain(name, error) from error
    _frame(tokenizer)
    hf.to(device).eval().requires_grad_(False)
    _said("Ready", 1.0)
    return Model(hf, tokenizer, name)


def tokenizer(name: str, trust_remote_code: bool = False) -> Any:
    """The model's tokenizer alone, framed as `load` frames it. Raises ModelError."""
    from transformers import AutoTokenizer

    try:
        return _frame(_cached_or_fetched(AutoTokenizer, str(_path(name)), trust_remote_code=trust_remote_code))
    except (OSError, ValueError) as error:
        raise _explain(name, error) from error


def _frame(tokenizer: Any) -> Any:
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def available() -> list[str]:
    """Models that can be loaded without a network: the bundled one and those in the Hugging Face cache."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    names = ["sandbox"] if (settings.SANDBOX / "config.json").is_file() else []
    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return names
    held = {r.repo_id for r in repos for v in r.revisions for f in v.files if f.file_name.endswith(".safetensors")}
    return names + sorted(held)


_shared: dict[str, Model] = {}
_sharing = threading.Lock()
_progress: tuple[str, float] = ("", 0.0)


def shared(chosen: settings.Settings) -> Model:
    """The one model of this process, loaded by whoever asks first; everybody else waits for it."""
    with _sharing:
        if chosen.model not in _shared:
            for old in list(_shared):
                _shared.pop(old).release()
            _said("Starting torch", 0.1)
            _shared[chosen.model] = load(chosen.model, trust_remote_code=chosen.trust_remote_code)
        return _shared[chosen.model]


def loaded(chosen: settings.Settings) -> bool:
    """Whether `shared` would answer at once."""
    return chosen.model in _shared


def progress() -> tuple[str, float]:
    """What loading is at, in words, and about how far, 0 to 1."""
    return _progress


def _said(words: str, share: float) -> None:
    global _progress
    _progress = (words, share)


def _path(name: str) -> Path | str:
    try:
        return settings.model_path(name)
    except FileNotFoundError as error:
        raise ModelError(str(error)) from error


def _check_folder(folder: Path, name: str) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name}: {folder} holds no config.json, so it is no model folder. {_offer()}")
    if any(folder.glob("*.safetensors")):
        return
    pickles = [file.name for pattern in PICKLES for file in sorted(folder.glob(pattern))]
    if pickles:
        raise ModelError(
            f"{name}: its weights are a pickle ({pickles[0]}), which can run code when opened, so they are refused. "
            "Save them as safetensors first: model.save_pretrained(FOLDER)."
        )
    raise ModelError(f"{name}: {folder} holds no *.safetensors weights. {_offer()}")


def _cached_or_fetched(kind: Any, path: str, **options: Any) -> Any:
    """The cache first, so that a model that is here never waits for a network that is not."""
    try:
        return kind.from_pretrained(path, local_files_only=True, **options)
    except OSError:
        if Path(path).is_dir() or os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
            raise
    return kind.from_pretrained(path, **options)


def _explain(name: str, error: Exception) -> ModelError:
    text = str(error)
    if "trust_remote_code" in text:
        return _untrusted(name)
    if ".safetensors" in text:
        return ModelError(f"{name}: there are no safetensors weights, and pickled weights are refused. {_offer()}")
    if isinstance(error, OSError) and not Path(name).is_dir():
        return ModelError(f"{name} is not on this machine and could not be downloaded. {_offer()}")
    return ModelError(f"{name} could not be loaded: {text}")


def check_consent(name: str, trust_remote_code: bool) -> None:
    """Raise ModelError for a model that only code of its own can make, unless that may run. Loads nothing.

    A model without its config.json here is let through: `load` checks it when it has been fetched.
    """
    config = settings.model_config(name)
    if trust_remote_code or "AutoModelForCausalLM" not in (config.get("auto_map") or {}):
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if config.get("model_type") not in CONFIG_MAPPING_NAMES:  # transformers has no code of its own for it
        raise _untrusted(name)


def _untrusted(name: str) -> ModelError:
    return ModelError(
        f"{name}: this model brings code of its own, which would run on this machine, so it is refused. If you trust its "
        "author, start again with --trust-remote-code, on the page's command line or the run's."
    )


def _offer() -> str:
    names = available()
    return f"Available here: {', '.join(names)}." if names else "No other model is on this machine."


def _adapter_folder(folder: Path) -> Path:
    for place in (folder / "adapter", folder):
        if (place / "adapter_config.json").is_file():
            return place
    raise ModelError(f"{folder} holds no adapter: there is no adapter_config.json in it. Has the run finished?")


def _check_adapter(folder: Path, base: str) -> str:
    """Refuse what cannot be put on `base`; return the base the adapter was made for."""
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    if not (folder / "adapter_model.safetensors").is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        why = "only as a pickle, which is refused" if pickled else "nowhere: adapter_model.safetensors is missing"
        raise ModelError(f"{folder}: the adapter's weights are there {why}.")
    special = [k for k in ("use_dora", "modules_to_save", "lora_bias", "alora_invocation_tokens") if config.get(k)]
    if config.get("peft_type") != "LORA" or special or config.get("bias", "none") != "none":
        kind = ", ".join([str(config.get("peft_type")), *special])
        raise ModelError(f"{folder}: only plain LoRA adapters can be put on a model that answers; this is {kind}.")
    run = folder.parent / "config.json"
    made_for = json.loads(run.read_text("utf-8")).get("model") if run.is_file() and folder.name == "adapter" else None
    made_for = str(made_for or config.get("base_model_name_or_path") or base)
    if _plain(made_for) != _plain(base):
        raise ModelError(f"{folder} was made for the model {made_for}; it cannot be put on {base}.")
    return made_for


def _check_shapes(folder: Path, hf: Any, words: str) -> None:
    """Before PEFT changes anything: every weight of the adapter has its layer, of its size."""
    from safetensors import safe_open

    layers = dict(hf.named_modules())
    with safe_open(str(folder / "adapter_model.safetensors"), "pt") as weights:
        for key in weights.keys():  # noqa: SIM118 (no dict)
            place, _, part = key.removeprefix("base_model.model.").rpartition(".lora_")
            if place not in layers:
                raise ModelError(f"{words}: it has weights for {place or key}, which is no layer there.")
            shape = weights.get_slice(key).get_shape()
            is_down = part.startswith("A")
            wanted = getattr(layers[place], "in_features" if is_down else "out_features", None)
            if wanted is not None and shape[1 if is_down else 0] != wanted:
                raise ModelError(f"{words}: {key} has the shape {shape}, but the layer's size is {wanted}.")


def _plain(name: str) -> str:
    """One spelling per model: the bundled one is "sandbox" wherever it lies, a folder is its real path."""
    if name == "sandbox" or Path(name).parts[-3:] == settings.SANDBOX.parts[-3:]:
        return "sandbox"
    return str(Path(name).expanduser().resolve()) if Path(name).expanduser().is_dir() else name

"""A base model with its adapters: load, attach, take turns, release. Safetensors only; no remote code without consent.

Importing this module is cheap: torch, transformers and peft are imported when a model is loaded.
"""

from __future__ import annotations

import gc
import os
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import settings
from workbench.models import chat, checkpoint, origin, tokens
from workbench.models.errors import ModelError
from workbench.processes import read_json
from workbench.sandbox import spelling

if TYPE_CHECKING:
    import torch

# What a row of a batch speaks through: an adapter's name (None = base) and its strength (0 = base, 1 = as trained).
AdapterChoice = tuple[str | None, float]


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
        self.device: torch.device = next(hf.parameters()).device
        self.lock = Turns()
        self.peft: Any = None  # wraps `hf` from the first adapter on
        self.layer_cache: dict[str, Any] = {}  # what lora.py has learned of the adapters' layers
        self._attached: dict[tuple[str, int], str] = {}  # (adapter folder, time of its weights) -> name
        self._attaching = threading.Lock()

    @property
    def adapters(self) -> list[str]:
        return list(self._attached.values())

    @property
    def end_ids(self) -> list[int]:
        """Token ids that end an answer: what the chat template ends a turn with, and what the model's makers name."""
        end = chat.framing(self.tokenizer).end
        candidates = [self.hf.generation_config.eos_token_id, self.tokenizer.eos_token_id, end]
        ids = [i for item in candidates if item is not None for i in (item if isinstance(item, list) else [item])]
        return sorted(set(ids))

    @property
    def context(self) -> int:
        """The most tokens, prompt and answer together, that the model was built for."""
        return _context_of(self.hf.config)

    def prompt_ids(self, text: str) -> list[int]:
        """Token ids of a prompt as the chat template frames it, up to where the answer begins."""
        return tokens.prompt_ids(self.tokenizer, text)

    def answer_ids(self, text: str) -> list[int]:
        """Token ids of an answer, the end token included."""
        return tokens.answer_ids(self.tokenizer, text)

    def too_long(self, prompts: Iterable[str], new_tokens: int) -> dict[str, int]:
        """Those prompts that leave no room for an answer of `new_tokens`, each with its number of tokens."""
        room = self.context - new_tokens
        frame = len(self.prompt_ids("")) + 8  # no tokenizer makes many more tokens of a text than it has bytes
        doubtful = (text for text in prompts if len(text.encode()) + frame > room)
        lengths = {text: len(self.prompt_ids(text)) for text in doubtful}
        return {text: n for text, n in lengths.items() if n > room}

    def attach(self, folder: str | Path) -> str:
        """Load the LoRA adapter of a run folder (or of an adapter's own folder) once; return its name.

        An adapter whose file has changed since (a resumed run) is loaded again. Raises ModelError for an adapter made
        for another base (naming both), for pickled weights, and for adapters other than plain LoRA.
        """
        folder = _adapter_folder(Path(folder))
        base = _check_adapter(folder, self.name)
        key = (str(folder.resolve()), (folder / "adapter_model.safetensors").stat().st_mtime_ns)
        with self._attaching:
            if key in self._attached:
                return self._attached[key]
            stale = [old for old in self._attached if old[0] == key[0]]
            name = self._free_name(folder)
            from peft import PeftModel

            _check_shapes(folder, self.hf, f"{folder} was made for {base} and does not fit {self.name}")
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
        names = set(self._attached.values())
        return next(n for n in (stem, *(f"{stem}_{i}" for i in range(2, len(names) + 3))) if n not in names)

    def release(self) -> None:
        """Free the memory; the model cannot be used afterwards."""
        import torch

        with self.lock:
            self.hf = self.peft = None
            self._attached.clear()
            self.layer_cache.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def load(name: str, device: str | None = None, dtype: Any = None, trust_remote_code: bool = False) -> Model:
    """Load a base: "sandbox", a folder, or a Hub name (from the cache first, else by download unless offline).

    `dtype` defaults to what suits the device: bf16 weights become float32 on a CPU. Raises ModelError for pickled,
    missing or damaged weights, for an architecture that does not continue a text, for code that comes with the model
    (unless `trust_remote_code`), and for a model that is not here; MemoryError when it does not fit.
    """
    import torch
    import transformers

    path = _path(name)
    if isinstance(path, Path):
        checkpoint.check_folder(path, name)
    device = device or settings.device().value
    dtype = dtype or settings.dtype(device).value
    torch.set_num_threads(settings.threads().value)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    _set_progress("Reading the tokenizer", 0.3)
    framed = tokenizer(name, trust_remote_code)
    _set_progress("Reading the weights", 0.4)
    weights = options | {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    checkpoint.check_architecture(config(name, trust_remote_code), name)
    try:
        hf, info = _cached_or_fetched(transformers.AutoModelForCausalLM, str(path), dtype=dtype, **weights)
        checkpoint.check_loaded(hf, info, name)
        hf.to(device).eval().requires_grad_(False)
    except ModelError:
        raise
    except Exception as error:  # over somebody's files the libraries raise errors of every kind
        raise checkpoint.explain(name, error) from error
    _set_progress("Ready", 1.0)
    return Model(hf, framed, name)


def config(name: str, trust_remote_code: bool = False) -> Any:
    """The model's transformers config. Raises ModelError."""
    from transformers import AutoConfig

    try:
        return _cached_or_fetched(AutoConfig, str(_path(name)), trust_remote_code=trust_remote_code)
    except ModelError:
        raise
    except Exception as error:  # see load
        raise checkpoint.explain(name, error) from error


def tokenizer(name: str, trust_remote_code: bool = False) -> Any:
    """The model's tokenizer alone, its chat template tried and, where there is none, given; that of the shared model if
    it is loaded, since reading one takes up to a second. Raises ModelError."""
    if name in _shared:
        return _shared[name].tokenizer
    from transformers import AutoTokenizer

    try:
        loaded_tokenizer = _cached_or_fetched(AutoTokenizer, str(_path(name)), trust_remote_code=trust_remote_code)
    except ModelError:
        raise
    except Exception as error:  # see load
        raise checkpoint.explain_tokenizer(name, error) from error
    if settings.model_name(name) == "sandbox":
        spelling.respell(loaded_tokenizer)
    if loaded_tokenizer.chat_template is None:
        loaded_tokenizer.chat_template = chat.plain_template(loaded_tokenizer)
    try:
        chat.framing(loaded_tokenizer)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    return loaded_tokenizer


def context(name: str, trust_remote_code: bool = False) -> int:
    """The most tokens, prompt and answer together, that the model was built for: `Model.context`, from its config alone.
    Raises ModelError."""
    return _context_of(config(name, trust_remote_code))


def _context_of(config: Any) -> int:
    text = config.get_text_config()
    values = (getattr(text, name, None) for name in settings.CONTEXT)
    return next((n for n in values if n), 2048)


_shared: dict[str, Model] = {}
_sharing = threading.Lock()
_progress: tuple[str, float] = ("", 0.0)


def shared(options: settings.Settings) -> Model:
    """The one model of this process, loaded by whoever asks first; everybody else waits for it."""
    with _sharing:
        if options.model not in _shared:
            for old in list(_shared):
                _shared.pop(old).release()
            _set_progress("Starting torch", 0.1)
            _shared[options.model] = load(options.model, trust_remote_code=options.trust_remote_code)
        return _shared[options.model]


def loaded(options: settings.Settings) -> bool:
    """Whether `shared` would answer at once."""
    return options.model in _shared


def progress() -> tuple[str, float]:
    """What loading is at, in words, and about how far, 0 to 1."""
    return _progress


def _set_progress(text: str, share: float) -> None:
    global _progress
    _progress = (text, share)


def _path(name: str) -> Path | str:
    try:
        return settings.model_path(name)
    except FileNotFoundError as error:
        raise ModelError(str(error)) from error


def _cached_or_fetched(kind: Any, path: str, **options: Any) -> Any:
    """The cache first, so that a model that is here never waits for a network that is not."""
    try:
        return kind.from_pretrained(path, local_files_only=True, **options)
    except OSError:
        if Path(path).is_dir() or os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
            raise
    return kind.from_pretrained(path, **options)


def _adapter_folder(folder: Path) -> Path:
    for place in (folder / "adapter", folder):
        if (place / "adapter_config.json").is_file():
            return place
    raise ModelError(f"{folder} holds no adapter: there is no adapter_config.json in it. Has the run finished?")


def _check_adapter(folder: Path, base: str) -> str:
    """Refuse what cannot be put on `base`; return the base the adapter was made for."""
    config = read_json(folder / "adapter_config.json")
    if not config:
        raise ModelError(f"{folder}: adapter_config.json is damaged. Copy the adapter from its run again.")
    if not (folder / "adapter_model.safetensors").is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        why = "stored as a pickle, which is refused" if pickled else "missing: there is no adapter_model.safetensors"
        raise ModelError(f"{folder}: the adapter's weights are {why}.")
    special = [k for k in ("use_dora", "modules_to_save", "lora_bias", "alora_invocation_tokens") if config.get(k)]
    if config.get("peft_type") != "LORA" or special or config.get("bias", "none") != "none":
        kind = ", ".join([str(config.get("peft_type")), *special])
        raise ModelError(f"{folder}: only plain LoRA adapters can be put on a model that answers; this is {kind}.")
    checkpoint.check_whole(folder / "adapter_model.safetensors", str(folder))
    run_config = read_json(folder.parent / "config.json") if folder.name == "adapter" else {}  # the run's
    own_base = str(run_config.get("model") or config.get("base_model_name_or_path") or base)
    if difference := origin.difference(run_config | {"model": own_base}, base):
        raise ModelError(f"{folder} {difference}; it cannot be put on {base}.")
    return own_base


def _check_shapes(folder: Path, hf: Any, reason: str) -> None:
    """Before PEFT changes anything: every weight of the adapter has its layer, of its size."""
    from safetensors import safe_open

    layers = dict(hf.named_modules())
    with safe_open(str(folder / "adapter_model.safetensors"), "pt") as weights:
        for key in weights.keys():  # noqa: SIM118 (no dict)
            place, _, part = key.removeprefix("base_model.model.").rpartition(".lora_")
            place = place.replace(".base_layer", "")  # adapters on several weights of one layer lie one in the other
            if place not in layers:
                raise ModelError(f"{reason}: it has weights for {place or key}, which is not a layer there.")
            shape = weights.get_slice(key).get_shape()
            is_down = part.startswith("A")
            size = getattr(layers[place], "in_features" if is_down else "out_features", None)
            if size is not None and shape[1 if is_down else 0] != size:
                raise ModelError(f"{reason}: {key} has the shape {shape}, but the layer's size is {size}.")

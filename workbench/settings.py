"""Where things are and what they run on. Every automatic choice carries its reason, for the page to show."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

SANDBOX = Path(__file__).parent / "sandbox" / "model"


@dataclass(frozen=True)
class Settings:
    """What one workbench is started with."""

    workspace: Path
    model: str = "sandbox"
    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    rewards: Path | None = None
    """The folder that the page may take `file:` rewards from. A file is code, so without one it takes none."""
    command_line: bool = False
    """Whether a command asks, whose user may run any code anyway: `file:` rewards from everywhere."""
    trust_remote_code: bool = False
    """Consent to run the code that comes with the model."""

    @property
    def database(self) -> Path:
        return self.workspace / "workbench.db"


@dataclass(frozen=True)
class Choice:
    """An automatic choice and why it was made."""

    value: Any
    reason: str


def load(workspace: str | Path | None = None, model: str | None = None, **overrides: Any) -> Settings:
    """Settings from what was asked for, else from the environment, else the defaults. Creates nothing.

    WORKBENCH_HOME is the workspace, GRADIO_SERVER_NAME and GRADIO_SERVER_PORT are the address,
    WORKBENCH_HANG_SECONDS is how long a job may show no sign of life (see `hang_seconds`).
    Raises ValueError naming the setting that is wrong.
    """
    folder = workspace or os.environ.get("WORKBENCH_HOME") or Path.home() / ".alignment-workbench"
    if "\0" in str(folder):
        raise ValueError("--workspace: a folder's name cannot hold a NUL character")
    options = {name: value for name, value in overrides.items() if value is not None}
    unknown = set(options) - {"host", "port", "share", "rewards", "command_line", "trust_remote_code"}
    if unknown:
        raise ValueError(f"unknown setting: {', '.join(sorted(unknown))}")
    options.setdefault("host", os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1")
    port = options.pop("port", None) or os.environ.get("GRADIO_SERVER_PORT") or 7860
    try:
        number = int(port)
    except ValueError:
        raise ValueError(f"--port (or GRADIO_SERVER_PORT): {port!r} is not a number") from None
    if not 1 <= number <= 65535:
        raise ValueError(f"--port (or GRADIO_SERVER_PORT): {number} is not between 1 and 65535")
    if "rewards" in options:
        options["rewards"] = Path(options["rewards"]).expanduser().resolve()
        if not options["rewards"].is_dir():
            raise ValueError(f"--rewards: there is no folder {options['rewards']}")
    hang_seconds()
    return Settings(Path(folder).expanduser().absolute(), model_name(model or "sandbox"), port=number, **options)


def hang_seconds() -> float:
    """Seconds without a sign of life after which a running job counts as hung: WORKBENCH_HANG_SECONDS, else 180.

    Raises ValueError for a value that is no number above 0.
    """
    text = os.environ.get("WORKBENCH_HANG_SECONDS") or "180"
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"WORKBENCH_HANG_SECONDS: {text!r} is not a number of seconds above 0")
    return seconds


def cores() -> int:
    """Processor cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def threads() -> Choice:
    """How many threads torch should compute with."""
    variable = os.environ.get("OMP_NUM_THREADS", "")
    if variable.isdigit() and int(variable) > 0:
        return Choice(int(variable), "OMP_NUM_THREADS says so")
    n = max(1, min(cores(), 16))
    return Choice(n, f"{cores()} cores are free to use" if n == cores() else "more than 16 do not help small batches")


def device() -> Choice:
    """ "cuda", "mps" or "cpu", as torch finds it (imports torch)."""
    import torch

    if torch.cuda.is_available():
        return Choice("cuda", f"found {torch.cuda.get_device_name(0)}")
    if torch.backends.mps.is_available():
        return Choice("mps", "found an Apple GPU")
    return Choice("cpu", "found no GPU")


def dtype(device: str) -> Choice:
    """The frozen base's number format on `device`, as a torch dtype. Adapters are always trained in float32."""
    import torch

    # cards before 2020 (T4, V100) are counted in otherwise, though they only imitate it, slowly
    if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return Choice(torch.bfloat16, "this GPU computes in bfloat16: half the memory")
    if device == "cuda":
        return Choice(torch.float16, "this GPU has no bfloat16")
    return Choice(torch.float32, "bfloat16 costs precision, and few processors are faster in it")


@dataclass(frozen=True)
class Graphics:
    """A GPU as its driver reports it; memory in MB."""

    name: str
    total_mb: int
    free_mb: int


@lru_cache(maxsize=1)
def graphics() -> Graphics | None:
    """The first NVIDIA GPU, asked of its driver so that torch need not be imported. None without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    command = [tool, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None  # a driver that does not answer is no GPU to compute on
    name, total, free = (part.strip() for part in output.splitlines()[0].rsplit(",", 2))
    return Graphics(name, int(total), int(free))


def model_name(name: str) -> str:
    """One spelling per model: "sandbox" for the bundled one wherever it lies, a folder's real path, a Hub name as it is."""
    folder = Path(name).expanduser()
    if name == "sandbox" or folder.parts[-3:] == SANDBOX.parts[-3:]:
        return "sandbox"
    return str(folder.resolve()) if folder.is_dir() else name


def model_path(name: str) -> Path | str:
    """Folder of the bundled model or of a local one; any other name is one of the Hugging Face Hub.

    Raises FileNotFoundError when `name` looks like a folder and is none.
    """
    if name == "sandbox":
        return SANDBOX
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise FileNotFoundError(f"--model: there is no folder {name}. Name a model folder or a Hugging Face model.")
    return name


def model_folder(name: str) -> Path | None:
    """The model's files on this machine: its folder, or where the Hub's cache keeps it; None when not downloaded."""
    path = model_path(name)
    if isinstance(path, Path):
        return path
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(path, "config.json")
    return Path(config).parent if isinstance(config, str) else None


def model_config(name: str) -> dict[str, Any]:
    """The model's config.json, {} when it is not on this machine. Raises ValueError for one that is no JSON."""
    folder = model_folder(name)
    file = folder / "config.json" if folder else None
    try:
        return json.loads(file.read_text("utf-8")) if file and file.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{file} is damaged: it is not valid JSON. Download or copy the model again.") from error


@dataclass(frozen=True)
class Shape:
    """Sizes of a language model: of a token's state, the layers, the feed-forward layer, the vocabulary."""

    hidden: int
    layers: int
    inner: int
    vocabulary: int


# What families call the same number (transformers knows these as `attribute_map`)
HIDDEN = ("hidden_size", "n_embd", "n_embed", "d_model")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
INNER = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


def model_shape(name: str) -> Shape | None:
    """The sizes in a model's config.json, of its language model where it has more; None when they are not there."""
    config = model_config(name)
    config = config.get("text_config") or config

    def value_of(names: tuple[str, ...]) -> int | None:
        return next((config[key] for key in names if config.get(key)), None)

    hidden, layers, vocabulary = value_of(HIDDEN), value_of(LAYERS), config.get("vocab_size")
    if hidden is None or layers is None or vocabulary is None:
        return None
    return Shape(hidden, layers, value_of(INNER) or 4 * hidden, vocabulary)


def parameters(name: str) -> int | None:
    """How many numbers the model's safetensors hold, read from their headers alone; None when they are not here.

    Raises ValueError for a damaged file.
    """
    folder = model_folder(name)
    files = sorted(folder.glob("*.safetensors")) if folder else []
    return sum(_count(file) for file in files) or None


def _count(file: Path) -> int:
    return sum(prod(tensor["shape"]) for name, tensor in safetensors_header(file).items() if name != "__metadata__")


def safetensors_header(file: Path) -> dict[str, Any]:
    """What a safetensors file says it holds: name -> {"dtype", "shape", "data_offsets"}.

    Its first 8 bytes are the header's length (little endian), then comes the header as JSON, then the numbers. Raises
    ValueError for a file that is none, or that is shorter or longer than its header says.
    """
    size = file.stat().st_size
    with file.open("rb") as f:
        start = f.read(8)
        if start == b"version ":
            raise ValueError(f"{file.name} is a Git LFS pointer, not the weights: run git lfs pull")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(100_000_000, size - 8):
            raise ValueError(f"{file.name} is damaged or not a safetensors file")
        try:
            header: dict[str, Any] = json.loads(f.read(length))
            end = max(
                (tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"), default=0
            )
        except (ValueError, AttributeError, LookupError, TypeError) as error:
            raise ValueError(f"{file.name} is damaged or not a safetensors file") from error
    if 8 + length + end != size:
        raise ValueError(f"{file.name} is damaged: it has {size:,} bytes and should have {8 + length + end:,}")
    return header


def short_count(n: int) -> str:
    """1_570_000 -> "1.6M"."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.1f}{unit}"
    return str(n)


def short_name(model: str) -> str:
    """The model's name without the folders that it lies in."""
    return Path(model).name


def describe(settings: Settings) -> str:
    """Model and device in one line, such as "sandbox 1.6M · CPU, 2 cores". Imports no torch."""
    name = short_name(settings.model)
    try:
        count = parameters(settings.model)
    except ValueError:
        count = None  # damaged: loading it says so, the page still has a header
    gpu = graphics()
    hardware = gpu.name if gpu else f"CPU, {cores()} core{'s' if cores() != 1 else ''}"
    return f"{name} {short_count(count)} · {hardware}" if count else f"{name} · {hardware}"

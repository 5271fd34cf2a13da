"""Every test gets an empty home of its own and no network, so that none touches anybody's answers or leaves the machine."""

import inspect
import ipaddress
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores; before torch is imported
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # values are compared to the last bits of a CPU; see test_gpu.py
RUNS = {"small_runs", "reward_runs"}  # the modules whose runs are trained, or look so
APP = {"browser", "app", "own_app"}  # fixtures of browser/conftest.py
HERE = {"localhost", "127.0.0.1", "::1", "0.0.0.0", ""}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each test is `slow` or `fast`. Slow by themselves are tests that drive a browser or train; others say so."""
    for item in items:
        if not item.get_closest_marker("slow"):
            slow = item.get_closest_marker("long") or APP & set(item.fixturenames) or trains(item)
            item.add_marker("slow" if slow else "fast")


def trains(item: pytest.Item) -> bool:
    """Whether a test may train: its file uses `RUNS`, and it asks for a fixture, since every run needs a folder."""
    modules = [getattr(value, "__module__", getattr(value, "__name__", "")) for value in vars(item.module).values()]
    parameters = set(getattr(getattr(item, "callspec", None), "params", ()))
    has_fixture = set(inspect.signature(item.function).parameters) > parameters
    return has_fixture and any(name.rpartition(".")[2] in RUNS for name in modules if isinstance(name, str))


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """WORKBENCH_HOME in a temporary folder; the model hub is off."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("WORKBENCH_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to any other host is an error; this machine's own addresses work."""
    connect = socket.socket.connect

    def loopback_only(self: socket.socket, address, *rest):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if host not in HERE and not ipaddress.ip_address(host).is_loopback:
                raise RuntimeError(f"a test tried to reach {host}")
        return connect(self, address, *rest)

    monkeypatch.setattr(socket.socket, "connect", loopback_only)


@pytest.fixture
def store(tmp_path: Path) -> Iterator:
    from workbench.store import Store

    with Store(tmp_path / "workbench.db") as opened:
        yield opened


@pytest.fixture
def settings(home: Path):
    """Settings for the temporary home and the bundled model."""
    from workbench.settings import load

    return load()


OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
open({ran!r}, "w").close()
class MineConfig(LlamaConfig):
    model_type = "mine"
class Mine(LlamaForCausalLM):
    config_class = MineConfig
"""


@pytest.fixture
def own_code():
    """own_code(base, folder): a copy of a model that only its own code can load; (its folder, the file that code makes)."""

    def write(base: Path, folder: Path) -> tuple[Path, Path]:
        shutil.copytree(base, folder)
        ran = folder.parent / f"{folder.name}-ran"
        config = json.loads((folder / "config.json").read_text())
        own = {"AutoConfig": "mine.MineConfig", "AutoModelForCausalLM": "mine.Mine"}
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "mine", "auto_map": own}))
        (folder / "mine.py").write_text(OWN_CODE.format(ran=str(ran)))
        return folder, ran

    return write

"""The workbench as a package: what the wheel holds, that it needs no checkout, and that its ranges admit the pins."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import Distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import workbench

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, built from a copy of the source."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "workbench", source / "workbench", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(source)]
    process = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    (wheel,) = source.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(installed: Path):
    source = {p.relative_to(ROOT).as_posix() for p in (ROOT / "workbench").rglob("*") if p.is_file()}
    source = {name for name in source if "__pycache__" not in name}
    packed = {p.relative_to(installed).as_posix() for p in installed.rglob("*") if p.is_file()}
    assert {name for name in packed if ".dist-info/" not in name} == source


@pytest.mark.slow
def test_the_installed_package_needs_no_checkout(installed: Path, tmp_path: Path):
    code = """
import sys
from pathlib import Path
import workbench
from workbench import settings
from workbench.store import Store
from workbench.ui import shell

assert Path(workbench.__file__).is_relative_to(sys.argv[1]), workbench.__file__
Store(settings.load().database).close()  # runs the migrations
assert (settings.SANDBOX / "model.safetensors").stat().st_size > 1_000_000
assert (shell.STATIC / "shell.js").is_file()
"""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code, str(installed)]
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def test_the_command_is_the_module_by_another_name(installed: Path):
    (info,) = installed.glob("*.dist-info")
    (script,) = Distribution.at(info).entry_points
    assert (script.name, script.value) == ("alignment-workbench", "workbench.__main__:main")
    assert Distribution.at(info).version == workbench.__version__


def pins(file: str) -> dict[str, Requirement]:
    """Normalised name -> requirement, of a requirements file."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text("utf-8").splitlines()]
    return {canonicalize_name(r.name): r for r in map(Requirement, filter(None, lines))}


def test_ranges_of_the_package_admit_the_pins_that_spaces_read():
    pinned = pins("requirements.txt")
    ranges = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["dependencies"])}
    assert ranges.keys() == pinned.keys(), "the dependencies of pyproject.toml and requirements.txt"
    for name, pin in pinned.items():
        exact = [s.version for s in pin.specifier if s.operator in ("==", "<=")]
        assert ranges[name].specifier.contains(exact[0]), f"{name}: pyproject.toml does not admit {pin.specifier}"


def test_the_lock_has_one_version_of_everything_below_the_pins():
    locked = pins("requirements.lock")
    for name, pin in pins("requirements.txt").items():
        (exact,) = locked[name].specifier
        assert pin.specifier.contains(exact.version), f"{name}: run `just lock`"
    required: set[str] = set()
    pending = list(pins("requirements.txt"))
    while pending:
        name = pending.pop()
        if name not in required:
            required.add(name)
            needs = [Requirement(text) for text in requires(name) or ()]
            pending += [canonicalize_name(r.name) for r in needs if not r.marker or r.marker.evaluate({"extra": ""})]
    assert required <= locked.keys(), f"run `just lock`: {required - locked.keys()}"


@pytest.mark.parametrize("file", ["requirements.lock", "package-lock.json"])
def test_a_lock_names_no_registry_and_no_folder(file: str):
    foreign = r"https?://(?!github\.com/sponsors|opencollective\.com)|file:|resolved|index-url|find-links"
    assert not re.search(foreign, (ROOT / file).read_text("utf-8"))

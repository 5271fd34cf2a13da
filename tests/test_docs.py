"""What the docs say exists, exists; what exists is in the docs."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs/commands.md",
    "docs/api.md",
    "docs/benchmarks.md",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_row_on_the_page_of_commands(command: str):
    assert f"| `python -m workbench {command}" in (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def test_every_command_in_the_docs_exists():
    docs = README + "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    commands = set(re.findall(r"python -m workbench ([a-z-]+)", docs))
    assert commands <= set(COMMANDS), commands - set(COMMANDS)


def test_settings_page_is_up_to_date():
    code = "import runpy; print(runpy.run_path('docs/write_settings.py')['text'](), end='')"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == process.stdout, "run: python docs/write_settings.py"


@pytest.mark.slow
def test_page_of_endpoints_is_up_to_date():
    writer = runpy.run_path(str(ROOT / "docs" / "write_api.py"))
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert page == writer["text"](writer["functions"]()), "run: python docs/write_api.py"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), f"{page} points to {target}"


def test_tree_in_the_readme_is_the_tree():
    tree = re.search(r"```text\n(.*?)```", README, re.DOTALL)
    assert tree, "the README shows the tree"
    paths = set()
    folders: list[str] = []
    for line in tree.group(1).splitlines():
        depth, names = (len(line) - len(line.lstrip())) // 2, line.split("  #")[0].strip()
        folders = folders[:depth]
        for name in names.split(", "):
            path = "/".join([*folders, name.rstrip("/")])
            assert (ROOT / path).exists(), f"the README's tree names {path}"
            paths.add(path)
        if names.endswith("/"):
            folders.append(names.rstrip("/"))
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "workbench").glob("*") if p.suffix == ".py" or p.is_dir()}
    missing = {m for m in modules if m not in paths and not m.endswith(("__init__.py", "__pycache__"))}
    assert not missing, f"the README's tree leaves out {missing}"


def test_every_benchmark_has_its_place_on_the_page_of_benchmarks():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    files = {f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.py")}
    assert set(re.findall(r"benchmarks/\w+\.py", page)) == files


def test_space_front_matter_pins_the_same_gradio():
    pin = re.search(r"^gradio==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pin and f"sdk_version: {pin.group(1)}\n" in README
    assert "app_file: app.py\n" in README


def test_every_pin_has_its_reason():
    for file in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / file).read_text().splitlines():
            if line and not line.startswith(("#", "-r")):
                assert "==" in line or line.startswith("torch>="), line
                assert "  # " in line, f"{file}: say why {line.split('=')[0]} is there"

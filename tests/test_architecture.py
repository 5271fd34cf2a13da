"""The house holds: imports run one way, and the way to the first page stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "workbench"

# What stands later on the path of the data may import what stands earlier, never the reverse.
LAYERS = [
    {"records", "settings", "intervals", "processes"},
    {"store", "migrations", "sandbox"},
    {"collect", "models", "onnx_decoder", "decoders", "generate"},
    {"jobs", "learn"},
    {"measure"},
    {"ui", "cli", "cli_shared", "cli_choosing", "demo", "__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# Learning looks at gold with measuring's own ruler; building the sandbox measures the base it has made.
ALLOWED = {("learn", "measure"), ("sandbox", "measure"), ("sandbox", "models"), ("sandbox", "generate")}
HEAVY = {"torch", "transformers", "peft", "trl", "datasets", "accelerate", "pandas", "pyarrow", "onnx", "onnxruntime"}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names that a file imports; with `top_level_only` those that run when it is imported."""
    tree = ast.parse(path.read_text())
    found = set()
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = ["workbench", *path.relative_to(PACKAGE).parent.parts]
                module = ".".join([*package[: len(package) - node.level + 1], *([module] if module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        if top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        stack.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path):
    mine = part(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "workbench" or len(parts) < 2 or parts[1] not in RANK or mine not in RANK:
            continue
        assert RANK[parts[1]] <= RANK[mine] or (mine, parts[1]) in ALLOWED, f"{mine} must not import {name}"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_in_their_rooms(path: Path):
    roots = {name.split(".")[0] for name in imports(path)}
    if part(path) != "ui":
        assert "gradio" not in roots, "only ui imports gradio"
    if part(path) not in {"learn", "jobs"}:
        assert "trl" not in roots, "only learn imports trl"
    if part(path) in {"store", "migrations"}:
        return
    assert not roots & {"sqlalchemy", "alembic", "sqlite3"}, "the store has the only SQL"


def test_every_part_has_a_rank():
    unknown = {part(path) for path in files()} - set(RANK) - {"__init__"}
    assert not unknown, f"say in LAYERS where {unknown} stands"


@pytest.mark.parametrize("module", ["workbench.ui", "workbench.jobs", "workbench.cli", "workbench.store"])
def test_light_to_import(module: str):
    """torch and friends take seconds to import; the page, the jobs and --help must not wait for them."""
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = set(done.stdout.split())
    if module == "workbench.ui":
        loaded -= {"pandas"}  # gradio itself imports it
    assert not loaded

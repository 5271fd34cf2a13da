"""The house holds: imports run one way, and the way to the first page stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "workbench"

# The floors, lowest first: what stands on one may import what stands on it or below, never above. A room is a file or a
# folder of the package; the rooms inside learn have floors of their own.
FLOORS = [
    {"disk", "records", "settings", "processes", "intervals", "memory"},
    {"store", "sandbox"},
    {"migrations", "models"},
    {"measure"},
    {"collect", "pretrain"},
    {"learn"},
    {"learn.engine", "learn.rewards"},
    {"learn.methods"},
    {"jobs"},
    {"ui", "demo"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(FLOORS) for name in names}
HEAVY = {"torch", "transformers", "peft", "trl", "datasets", "accelerate", "pandas", "pyarrow", "onnx", "onnxruntime"}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """The module's name below `workbench`, "" for the package itself."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def room(module: str) -> str:
    parts = module.split(".")
    inner = ".".join(parts[:2])
    return inner if inner in RANK else parts[0]


MODULES = {dotted(path): path for path in files()}


def arrows(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in the file the import stands."""
    modules = set()
    for name in imports(path):
        inside = name.removeprefix("workbench.") if name.startswith("workbench.") else None
        if inside is not None:
            module = inside if inside in MODULES else inside.rpartition(".")[0]
            modules |= {module} & set(MODULES)
    own = dotted(path)
    return {module for module in modules if module != own and not own.startswith(f"{module}.")}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names that a file imports; with `top_level_only` those that run when it is imported."""
    tree = ast.parse(path.read_text())
    names = set()
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = ["workbench", *path.relative_to(PACKAGE).parent.parts]
                module = ".".join([*package[: len(package) - node.level + 1], *([module] if module else [])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        if top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        stack.extend(ast.iter_child_nodes(node))
    return names


@pytest.mark.parametrize("module", [m for m in MODULES if m])
def test_imports_run_down_only(module: str):
    mine = room(module)
    for other in arrows(MODULES[module]) - {""}:
        assert RANK[room(other)] <= RANK[mine], f"{module} must not import {other}, a floor above it"


def test_no_circle_of_imports():
    """Inside folders too, and counting imports within functions: a circle is a room that should have been two."""
    graph = {module: arrows(path) for module, path in MODULES.items()}
    while free := [module for module, needed in graph.items() if not needed & set(graph)]:
        for module in free:
            del graph[module]
    assert not graph, f"in a circle, or behind one: {sorted(graph)}"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_in_their_rooms(path: Path):
    roots = {name.split(".")[0] for name in imports(path)}
    mine = room(dotted(path)).split(".")[0]
    if mine != "ui":
        assert "gradio" not in roots, "only ui imports gradio"
    if mine != "learn":
        assert "trl" not in roots, "only learn imports trl"
    if mine == "jobs":
        assert not roots & {"torch", "transformers", "peft"}, "jobs imports no torch"
    if mine in {"store", "migrations"}:
        return
    assert not roots & {"sqlalchemy", "alembic", "sqlite3"}, "the store has the only SQL"


def test_every_room_has_a_floor():
    unknown = {room(module) for module in MODULES if module} - set(RANK)
    assert not unknown, f"say in FLOORS where {unknown} stands"


@pytest.mark.parametrize("module", ["workbench.ui", "workbench.jobs.control", "workbench.cli.main", "workbench.store"])
def test_light_to_import(module: str):
    """torch and friends take seconds to import; the page, the jobs and --help must not wait for them."""
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = set(process.stdout.split())
    if module == "workbench.ui":
        loaded -= {"pandas"}  # gradio itself imports it
    assert not loaded


def method_checks(path: Path) -> set[int]:
    """Lines that compare something with a method's name, or look it up in a table of methods."""
    from workbench.learn.catalogue import METHODS, OLD_NAMES

    def named(node: ast.AST | None) -> bool:
        return isinstance(node, ast.Constant) and node.value in {*METHODS, *OLD_NAMES}

    lines = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Compare):
            sides = [part for side in (node.left, *node.comparators) for part in (side, *getattr(side, "elts", ()))]
            lines |= {node.lineno} if any(map(named, sides)) else set()
        if isinstance(node, ast.Dict) and sum(map(named, node.keys)) > 1:
            lines.add(node.lineno)
    return lines


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_holds_for_one_method_is_said_in_its_own_file(path: Path):
    """A fact about a method stands in learn/catalogue/<method>.py; no other file asks which method it is."""
    assert not method_checks(path)


def test_a_method_has_its_facts_and_its_training():
    from workbench.learn.catalogue import METHODS

    for name in METHODS:
        assert (PACKAGE / "learn" / "catalogue" / f"{name}.py").is_file()
        assert (PACKAGE / "learn" / "methods" / f"{name}.py").is_file()

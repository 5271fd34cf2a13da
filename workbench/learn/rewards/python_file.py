"""Rewards that are a Python file with a function reward(prompts, responses) -> list[float].

A file is code. The process of the page and whoever prepares a run only read it; `from_file` runs it, in the job.
Importing this module is cheap.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.settings import Settings

Reward = Callable[[list[str], list[str]], list[float]]
FUNCTION = "reward"
LARGEST = 1_000_000  # bytes of a file that is looked into


class RewardError(ValueError):
    """A reward that is not there, may not be used, or does not do what it should; the message names it."""


def allowed(name: str, settings: Settings) -> Path:
    """The whole path of a file that these settings allow as a reward; it need not exist. Links are followed first.

    The command line takes any file, named from the current folder; the page only those in `settings.rewards`, named
    from there. Raises RewardError for any other.
    """
    if settings.command_line:
        return _whole(Path(name).expanduser())
    if settings.rewards is None:
        raise RewardError(
            "A reward file is code, so the page accepts none. Start the run from the command line, or start the page with "
            "--rewards DIR: it may then use the Python files in that folder."
        )
    file = _whole(settings.rewards / name)
    if not file.is_relative_to(settings.rewards.resolve()):
        raise RewardError(f"A reward file is code, so the page accepts only those in {settings.rewards} (--rewards).")
    return file


def _whole(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, with a NUL, or links in a circle
        raise RewardError(f"file:{str(path)[:200]!r} is not a file name: {error}") from error


def check(file: Path) -> None:
    """Read the file without running it. Raises RewardError unless it is Python that names a function `reward`."""
    if not os.path.isfile(file):  # noqa: PTH113 (is_file raises for a name too long)
        raise RewardError(f"{file}: there is no such file")
    if file.suffix != ".py":
        raise RewardError(f"{file}: a reward is a Python file (*.py) with a function {FUNCTION}(prompts, responses)")
    if file.stat().st_size > LARGEST:
        raise RewardError(f"{file} is larger than {LARGEST:,} bytes, the limit for a reward file")
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        raise RewardError(f"{file}, line {error.lineno}: this is not valid Python: {error.msg}") from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise RewardError(f"{file} cannot be read: {error or type(error).__name__}") from error
    if not {FUNCTION, "*"} & set(_names(tree)):
        raise _no_function(file)


def _names(tree: ast.Module) -> Iterator[str]:
    """What the module's code binds outside of functions and classes; "*" for what another module brings."""
    stack: list[ast.AST] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        else:
            stack.extend(ast.iter_child_nodes(node))


def _no_function(file: Path) -> RewardError:
    return RewardError(f"{file} has no function {FUNCTION}(prompts, responses) -> list[float]")


def from_file(file: Path) -> Reward:
    """The function `reward` of a Python file, held to its signature. Every error names the file and the function."""
    function = _function(file)
    name = f"{file}, {FUNCTION}()"

    def checked(prompts: list[str], responses: list[str]) -> list[float]:
        try:
            output = function(list(prompts), list(responses))
        except Exception as error:  # code of the person's own: whatever it raises is told with its line
            frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == file.absolute()]
            where = f" in line {frames[-1].lineno}" if frames else ""
            raise RewardError(f"{name} failed{where}: {type(error).__name__}: {error}") from error
        try:
            values = [float(value) for value in output]
        except (TypeError, ValueError) as error:
            raise RewardError(f"{name} must return a list of numbers, one per answer: {error}") from error
        if len(values) != len(responses):
            raise RewardError(f"{name} returned {len(values)} numbers for {len(responses)} answers")
        return values

    return checked


def _function(file: Path) -> Callable[..., Any]:
    if not file.is_file():
        raise RewardError(f"{file}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"reward_file_{file.stem}", file.absolute())
    if spec is None or spec.loader is None:
        raise RewardError(f"{file}: a reward is a Python file (*.py) with a function {FUNCTION}(prompts, responses)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # as above
        raise RewardError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    function: Callable[..., Any] | None = getattr(module, FUNCTION, None)
    if not callable(function):
        raise _no_function(file)
    return function

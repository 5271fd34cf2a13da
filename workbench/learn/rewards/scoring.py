"""Score any text with a trained reward model: from Python, from a file, token by token or step by step.

Importing this module is cheap: torch is imported when a reward model is loaded.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.learn.rewards.files import STEP_HEAD, adapter_folder
from workbench.learn.rewards.reward_model import RewardModel

if TYPE_CHECKING:
    from workbench.learn.rewards.process_reward_model import ProcessRewardModel
    from workbench.models import Model

ANSWER_FIELDS = ("response", "answer", "completion")


def load(model: Model, run_folder: str | Path) -> RewardModel | ProcessRewardModel:
    """The reward model or process reward of a run. Raises ModelError as either does."""
    if not (adapter_folder(Path(run_folder)) / STEP_HEAD).is_file():
        return RewardModel(model, run_folder)
    from workbench.learn.rewards.process_reward_model import ProcessRewardModel

    return ProcessRewardModel(model, run_folder)


@dataclass(frozen=True)
class Row:
    """A text to score and the line it stands on."""

    line: int
    prompt: str
    response: str


@dataclass(frozen=True)
class Bad:
    """A line that cannot be scored, and why."""

    line: int
    reason: str


def read_rows(path: Path) -> tuple[list[Row], list[Bad]]:
    """Rows of a JSONL or CSV file with `prompt` and `response`. Raises ValueError for a file of another kind."""
    kind = path.suffix.casefold()
    if kind not in (".jsonl", ".csv"):
        raise ValueError(f"{path}: needs a .jsonl or .csv file with the fields prompt and response")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    rows: list[Row] = []
    bad: list[Bad] = []
    for line, content in _jsonl(path) if kind == ".jsonl" else _csv(path):
        item = _row(line, content)
        if isinstance(item, Row):
            rows.append(item)
        else:
            bad.append(item)
    if not rows and not bad:
        raise ValueError(f"{path} is empty")
    return rows, bad


def _jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    for line, raw in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if raw.strip():
            try:
                yield line, json.loads(raw)
            except ValueError as error:  # of JSON or of UTF-8
                yield line, f"not valid JSON: {error}"


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            line += 1
            yield line, {k: v for k, v in row.items() if k is not None}
            line = reader.line_num
    except csv.Error as error:
        yield reader.line_num, f"not valid CSV: {error}"


def _row(line: int, content: Any) -> Row | Bad:
    if isinstance(content, str):
        return Bad(line, content)
    if not isinstance(content, dict):
        return Bad(line, "not an object with the fields prompt and response")
    field = next((name for name in ANSWER_FIELDS if content.get(name) is not None), None)
    if not isinstance(content.get("prompt"), str) or not content["prompt"].strip():
        return Bad(line, "the field prompt is missing or empty")
    if field is None:
        return Bad(line, "the field response is missing")
    if not isinstance(content[field], str):
        return Bad(line, f"the field {field} is not text")
    return Row(line, content["prompt"], content[field])


def score_file(rewards: RewardModel | ProcessRewardModel, path: Path) -> tuple[list[dict[str, Any]], list[Bad]]:
    """Scored rows {"line", "prompt", "response", "score"} in the file's order, with "steps" by a process reward, and
    the lines that could not be scored. Raises ValueError for a file that cannot be read at all.
    """
    rows, bad = read_rows(path)
    model, readable = rewards.model, []
    for row in rows:
        n = len(model.prompt_ids(row.prompt)) + len(model.answer_ids(row.response))
        if n > model.context:
            bad.append(Bad(row.line, f"{n:,} tokens, but {model.name} reads only {model.context:,}"))
        else:
            readable.append(row)
    results = rewards.rows([row.prompt for row in readable], [row.response for row in readable])
    return [asdict(row) | figures for row, figures in zip(readable, results, strict=True)], sorted(
        bad, key=lambda b: b.line
    )

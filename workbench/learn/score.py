"""Score any text with a trained reward model: from Python, from a file, token by token or step by step.

Importing this module is cheap: torch is imported when a reward model is loaded.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.models import ModelError

if TYPE_CHECKING:
    from workbench.learn.process_reward import ProcessRewardModel
    from workbench.models import Model

HEAD = "score_head.safetensors"
STEP_HEAD = "step_head.safetensors"  # a process reward's
SCALE = "score.json"
MASKED = ("eager", "sdpa")  # ways of attending that take a mask of any shape
ANSWER_FIELDS = ("response", "answer", "completion")


class RewardModel:
    """A reward run's LoRA and score head on a base that other adapters share.

    Scores have mean 0 and standard deviation 1 over the answers it was trained on; a difference times `std` is the
    log-odds that a rater prefers the one answer over the other.
    """

    def __init__(self, model: Model, run_folder: str | Path) -> None:
        """Attach the reward model of `run_folder`. Raises ModelError when there is none, or it is for another base."""
        folder = adapter_folder(Path(run_folder), (HEAD,))
        from safetensors.torch import load_file

        self.model = model
        self.adapter = model.attach(folder)
        head = load_file(folder / HEAD)
        self.weight = head["score.weight"].to(model.device)  # [1, hidden], float32
        self.bias = float(head["score.bias"]) if "score.bias" in head else 0.0
        scale = json.loads((folder / SCALE).read_text("utf-8"))
        self.mean, self.std = float(scale["mean"]), float(scale["std"])

    def score(self, prompts: Sequence[str], answers: Sequence[str], batch_size: int = 64) -> list[float]:
        """One score per answer, read at its end token. Raises ValueError for lists of different lengths and for a text
        longer than the model reads."""
        from workbench.generate import answer_ids

        if len(prompts) != len(answers):
            raise ValueError(f"{len(prompts)} prompts, but {len(answers)} answers")
        starts: dict[str, list[int]] = {text: self.model.prompt_ids(text) for text in dict.fromkeys(prompts)}
        rows = [[*starts[p], *answer_ids(self.model, a)] for p, a in zip(prompts, answers, strict=True)]
        return self.score_ids(rows, batch_size)

    def rows(self, prompts: Sequence[str], answers: Sequence[str]) -> list[dict[str, Any]]:
        """{"score"} of each answer, for a file."""
        return [{"score": round(score, 4)} for score in self.score(prompts, answers)]

    def score_ids(self, rows: Sequence[Sequence[int]], batch_size: int = 64) -> list[float]:
        """The same for token ids [prompt + answer + end token]; the score is read at each row's last token."""
        result = [0.0] * len(rows)
        self._check(rows)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for k in range(0, len(order), batch_size):
            some = order[k : k + batch_size]
            for i, value in zip(some, self._batch([rows[i] for i in some]), strict=True):
                result[i] = value
        return result

    def token_scores(self, prompt: str, answer: str) -> list[tuple[str, float]]:
        """(text of the token, score of the answer if it ended after this token), for every token of the answer.

        The texts joined are the answer; the last score is the whole answer's.
        """
        start, words = self.model.prompt_ids(prompt), self.model.tokenizer
        ids = words(answer, add_special_tokens=False)["input_ids"]
        self._check([[*start, *ids, words.eos_token_id]])
        if one_pass(self.model.hf):
            scores = self._ends(start, ids) if ids else []
        else:
            scores = self.score_ids([[*start, *ids[: i + 1], words.eos_token_id] for i in range(len(ids))])
        texts = ["", *(words.decode(ids[: i + 1]).rstrip("\ufffd") for i in range(len(ids)))]
        texts[-1] = answer if ids else ""
        return [(now[len(before) :], s) for before, now, s in zip(texts, texts[1:], scores, strict=False)]

    def _check(self, rows: Sequence[Sequence[int]]) -> None:
        for i, row in enumerate(rows):
            if not 0 < len(row) <= self.model.context:
                raise ValueError(
                    f"text {i + 1} has {len(row)} tokens, and {self.model.name} reads {self.model.context}"
                )

    def _ends(self, start: list[int], ids: list[int]) -> list[float]:
        """The scores of all beginnings of an answer in one pass: behind the answer stands an end token for each of its
        tokens, which sees the answer up to there and itself, at the position where it would stand."""
        import torch

        n, m = len(start) + len(ids), len(ids)
        sees = torch.ones(n + m, n + m, dtype=torch.bool).tril()
        sees[n:] = False
        sees[n:, :n] = torch.arange(n) <= torch.arange(len(start), n)[:, None]
        sees[n:, n:] = torch.eye(m, dtype=torch.bool)
        dtype = next(self.model.hf.parameters()).dtype
        mask = torch.zeros(n + m, n + m, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)
        row = torch.tensor([[*start, *ids, *[self.model.tokenizer.eos_token_id] * m]])
        places = torch.cat([torch.arange(n), torch.arange(len(start) + 1, n + 1)])[None]
        device = self.model.device
        return self._read(
            row, [list(range(n, n + m))], attention_mask=mask[None, None].to(device), position_ids=places.to(device)
        )

    def _batch(self, rows: list[Sequence[int]]) -> list[float]:
        import torch

        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        # padding stands on the right, where a causal model cannot see it from the last token: no mask is needed
        return self._read(ids, [[len(row) - 1] for row in rows])

    def _read(self, ids: Any, places: Sequence[Sequence[int]], **more: Any) -> list[float]:
        """The scores at `places` of each row of token ids [rows, tokens], row by row."""
        import torch

        from workbench.decoders import forward, last_hidden

        call = {"input_ids": ids.to(self.model.device), "use_cache": False, "logits_to_keep": 1, **more}
        with torch.inference_mode(), self.model.lock, last_hidden(self.model.hf) as caught:
            forward(self.model, [(self.adapter, 1.0)] * len(ids), **call)
            row = torch.tensor([i for i, some in enumerate(places) for _ in some], device=self.model.device)
            place = torch.tensor([p for some in places for p in some], device=self.model.device)
            end = caught[0][row, place].float()  # [scores, hidden]
            raw = (end @ self.weight[0] + self.bias).tolist()
        return [(value - self.mean) / self.std for value in raw]


def one_pass(hf: Any) -> bool:
    """Whether `hf` attends by any mask and reads positions as given, so that many ends fit one pass: models with
    rotary positions whose every layer attends to everything before."""
    config = hf.config.get_text_config()
    full = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    rotary = bool(getattr(config, "rope_parameters", None))
    return full and rotary and not getattr(config, "sliding_window", None) and config._attn_implementation in MASKED


def adapter_folder(run_folder: Path, heads: tuple[str, ...] = (HEAD, STEP_HEAD)) -> Path:
    """Where the files of a reward model with one of these heads lie. Raises ModelError when the folder holds none."""
    for folder in (run_folder / "adapter", run_folder):
        if (folder / SCALE).is_file() and any((folder / head).is_file() for head in heads):
            return folder
    raise ModelError(
        f"{run_folder} holds no reward model: there is no {' or '.join(heads)} in it. "
        "Train one first: python -m workbench train reward"
    )


def load(model: Model, run_folder: str | Path) -> RewardModel | ProcessRewardModel:
    """The reward model or process reward of a run. Raises ModelError as either does."""
    if not (adapter_folder(Path(run_folder)) / STEP_HEAD).is_file():
        return RewardModel(model, run_folder)
    from workbench.learn.process_reward import ProcessRewardModel

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
    for line, found in _jsonl(path) if kind == ".jsonl" else _csv(path):
        item = _row(line, found)
        if isinstance(item, Row):
            rows.append(item)
        else:
            bad.append(item)
    if not rows and not bad:
        raise ValueError(f"{path}: there is nothing in it")
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


def _row(line: int, found: Any) -> Row | Bad:
    if isinstance(found, str):
        return Bad(line, found)
    if not isinstance(found, dict):
        return Bad(line, "not an object with the fields prompt and response")
    field = next((name for name in ANSWER_FIELDS if found.get(name) is not None), None)
    if not isinstance(found.get("prompt"), str) or not found["prompt"].strip():
        return Bad(line, "the field prompt is missing or empty")
    if field is None:
        return Bad(line, "the field response is missing")
    if not isinstance(found[field], str):
        return Bad(line, f"the field {field} is no text")
    return Row(line, found["prompt"], found[field])


def score_file(rewards: RewardModel | ProcessRewardModel, path: Path) -> tuple[list[dict[str, Any]], list[Bad]]:
    """Scored rows {"line", "prompt", "response", "score"} in the file's order, with "steps" by a process reward, and
    the lines that could not be scored. Raises ValueError for a file that cannot be read at all.
    """
    from workbench.generate import answer_ids

    rows, bad = read_rows(path)
    model, fitting = rewards.model, []
    for row in rows:
        n = len(model.prompt_ids(row.prompt)) + len(answer_ids(model, row.response))
        if n > model.context:
            bad.append(Bad(row.line, f"{n} tokens, and {model.name} reads only {model.context}"))
        else:
            fitting.append(row)
    found = rewards.rows([row.prompt for row in fitting], [row.response for row in fitting])
    scored = [asdict(row) | figures for row, figures in zip(fitting, found, strict=True)]
    return scored, sorted(bad, key=lambda b: b.line)

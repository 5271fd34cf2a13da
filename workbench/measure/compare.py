"""Several models side by side on the same prompts and random numbers, in one batch; and the words in which they differ.

`compare` does it at once; `start`, `poll` and `cancel` are the same for a page that wants the text as it grows.
Importing this module imports no torch.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.intervals import UNIT
from workbench.measure.winrate import Mean, mean
from workbench.records import Sampling

if TYPE_CHECKING:
    from workbench.measure.evaluate import Score
    from workbench.models import AdapterChoice, Model

MOST_ROWS = 256  # answers of one comparison
ABANDONED_AFTER = 30.0  # seconds without a poll after which nobody is taken to be looking
MOST_JOBS = 64  # comparisons remembered

Span = tuple[str, bool]  # a piece of text, and whether the other text lacks it


@dataclass(frozen=True)
class Compared:
    """One answer of a comparison: `prompt` and `model` are the places in the lists that were asked for.

    `kl` is the sum over the answer's tokens of log p(the model that wrote it) - log p(base), in nats, at the sampling
    temperature: one sample of the KL divergence of the two on this prompt; 0 for the base. `gold` is None for a prompt
    that is not of the sandbox's world. `spans` are the text in pieces, marked where the first model's answer differs
    (for the first model: where the second's does).
    """

    prompt: int
    model: int
    text: str
    tokens: int
    ended: bool
    kl: float
    gold: float | None
    parts: dict[str, float | None]
    style: str | None
    spans: list[Span]


@dataclass(frozen=True)
class Comparison:
    """`answers` has a row per prompt and model, prompts outermost. One Mean per model in gold, length and kl."""

    answers: list[Compared]
    gold: list[Mean]
    length: list[Mean]
    kl: list[Mean]


def compare(
    model: Model,
    prompts: Sequence[str],
    models: Sequence[AdapterChoice],
    sampling: Sampling,
    on_text: Callable[[int, str], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    score: Score | None = None,
) -> Comparison:
    """Let every model answer every prompt with the same random numbers, and measure the answers.

    `on_text(row, text so far)` streams, row = place of the prompt * number of models + place of the model.
    Raises ValueError for nothing to compare or for more than 256 answers at once.
    """
    from workbench.measure.evaluate import sandbox_gold
    from workbench.models.generate import generate

    choices = check(prompts, models)
    rows = generate(
        model,
        [p for p in prompts for _ in choices],
        sampling,
        [name for _ in prompts for name, _ in choices],
        [strength for _ in prompts for _, strength in choices],
        on_text,
        should_stop,
    )
    score = score or sandbox_gold()
    kls = kl(model, prompts, choices, rows, sampling)
    answers = []
    for k, row in enumerate(rows):
        i, j = divmod(k, len(choices))
        gold = score(prompts[i], row.text)
        other = rows[i * len(choices) + (0 if j else min(1, len(choices) - 1))].text
        parts, style = (dict(gold.parts), gold.style) if gold else ({}, None)
        total = gold.total if gold else None
        spans = word_diff(other, row.text)[1]
        answers.append(Compared(i, j, row.text, len(row.tokens), row.ended, kls[k], total, parts, style, spans))
    by_model = [[a for a in answers if a.model == j] for j in range(len(choices))]
    return Comparison(
        answers,
        gold=[mean([a.gold for a in some if a.gold is not None], UNIT) for some in by_model],
        length=[mean([a.tokens for a in some]) for some in by_model],
        kl=[mean([a.kl for a in some]) for some in by_model],
    )


def check(prompts: Sequence[str], models: Sequence[AdapterChoice]) -> list[AdapterChoice]:
    """The models as (adapter, strength). Raises ValueError for nothing to compare, or too much."""
    if not prompts or not models:
        raise ValueError("a comparison needs at least one prompt and one model")
    if len(prompts) * len(models) > MOST_ROWS:
        raise ValueError(f"{len(prompts)} prompts for {len(models)} models: at most {MOST_ROWS} answers at once")
    return [(name, float(strength)) for name, strength in models]


def kl(
    model: Model, prompts: Sequence[str], choices: Sequence[AdapterChoice], rows: Sequence[Any], sampling: Sampling
) -> list[float]:
    """log p(its writer) - log p(base) of every answer, in nats; `rows` are Generated, prompts outermost."""
    from workbench.models.generate import logprobs

    repeated = [p for p in prompts for _ in choices]
    writers = list(choices) * len(prompts)
    aligned = [k for k, (name, strength) in enumerate(writers) if name is not None and strength != 0]
    base = logprobs(
        model,
        [repeated[k] for k in aligned],
        [rows[k].tokens for k in aligned],
        temperature=sampling.temperature or 1.0,
    )
    values = [0.0] * len(rows)
    for k, tokens in zip(aligned, base, strict=True):
        values[k] = rows[k].logprob - sum(tokens)
    return values


def word_diff(a: str, b: str) -> tuple[list[Span], list[Span]]:
    """Both texts in pieces, each marked if the other text lacks it; a text's pieces joined are the text.

    Words and punctuation marks are compared, spaces are not; the space between two marked words is marked with them.
    """
    pieces = [re.findall(r"\s+|\w+(?:['’]\w+)*|[^\w\s]", text) for text in (a, b)]
    word_places = [[k for k, piece in enumerate(some) if not piece.isspace()] for some in pieces]
    texts = [[some[k] for k in where] for some, where in zip(pieces, word_places, strict=True)]
    changed = [[False] * len(some) for some in pieces]
    for what, a1, a2, b1, b2 in SequenceMatcher(None, texts[0], texts[1], autojunk=False).get_opcodes():
        if what != "equal":
            for side, start, stop in ((0, a1, a2), (1, b1, b2)):
                if stop > start:
                    for k in range(word_places[side][start], word_places[side][stop - 1] + 1):
                        changed[side][k] = True
    return _spans(pieces[0], changed[0]), _spans(pieces[1], changed[1])


def _spans(pieces: list[str], changed: list[bool]) -> list[Span]:
    spans: list[Span] = []
    for piece, mark in zip(pieces, changed, strict=True):
        if spans and spans[-1][1] == mark:
            spans[-1] = (spans[-1][0] + piece, mark)
        else:
            spans.append((piece, mark))
    return spans


def histogram(values: Sequence[Sequence[float]], bins: int = 20) -> dict[str, Any]:
    """Counts of one quantity for several models over the same bins: {"edges": [bins + 1], "counts": [model][bins]}.

    Bins span all values; equal values get one bin of width 1 around them. No values give no bins.
    """
    everything = np.concatenate([np.asarray(v, dtype=float) for v in values]) if values else np.zeros(0)
    if not len(everything):
        return {"edges": [], "counts": [[] for _ in values]}
    low, high = float(everything.min()), float(everything.max())
    edges = np.linspace(low, high, bins + 1) if high > low else np.array([low - 0.5, low + 0.5])
    return {"edges": edges.tolist(), "counts": [np.histogram(v, edges)[0].tolist() for v in values]}


class _Job:
    """A comparison under way: the text of each row, and when (in changes counted) it last changed."""

    def __init__(self, rows: int) -> None:
        self.lock = threading.Lock()
        self.texts = [""] * rows
        self.changed = [0] * rows
        self.changes = 0
        self.last_poll = monotonic()
        self.cancelled = self.done = False
        self.error: str | None = None
        self.result: dict[str, Any] | None = None

    def set_text(self, row: int, text: str) -> None:
        with self.lock:
            if text != self.texts[row]:
                self.changes += 1
                self.texts[row], self.changed[row] = text, self.changes

    def should_stop(self) -> bool:
        return self.cancelled or monotonic() - self.last_poll > ABANDONED_AFTER


_jobs: dict[str, _Job] = {}
_jobs_lock = threading.Lock()


def start(
    model: Callable[[], Model],
    prompts: Sequence[str],
    models: Sequence[tuple[Any, float]],
    sampling: Sampling,
    score: Score | None = None,
) -> str:
    """Begin a comparison in a thread of its own and return its id at once.

    `model()` gives the model (loading it may take seconds); a model's first half is a run's folder, the name of an
    attached adapter, or None for the base. Raises ValueError as `check` does. A comparison that nobody polls for 30 s
    stops by itself.
    """
    check(prompts, models)
    job, name = _Job(len(prompts) * len(models)), secrets.token_hex(8)
    with _jobs_lock:
        _jobs[name] = job
        ended = [key for key, other in _jobs.items() if other.done]
        for old in ended[: max(0, len(_jobs) - MOST_JOBS)]:
            del _jobs[old]

    def work() -> None:
        try:
            loaded = model()
            choices = [(_attached(loaded, what), strength) for what, strength in models]
            result = compare(loaded, prompts, choices, sampling, job.set_text, job.should_stop, score)
            with job.lock:
                job.result = None if job.cancelled else to_json(result)
        except Exception as error:  # whatever it is, the page that polls must hear of it
            job.error = str(error) or type(error).__name__
        finally:
            job.done = True

    threading.Thread(target=work, name=f"compare {name}", daemon=True).start()
    return name


def poll(name: str, cursor: int = 0) -> dict[str, Any]:
    """What has changed since `cursor` (0 at first): rows with their whole text so far, and the result once done.

    Returns {"rows": [{"row", "text"}], "cursor", "done", "error", "result"}. Raises KeyError for an unknown id.
    """
    job = _jobs[name]
    job.last_poll = monotonic()
    done = job.done  # before the rows, so that "done" never comes ahead of the last text
    with job.lock:
        rows = [{"row": k, "text": job.texts[k]} for k, when in enumerate(job.changed) if when > cursor]
        return {
            "rows": rows,
            "cursor": job.changes,
            "done": done,
            "error": job.error if done else None,
            "result": job.result if done else None,
        }


def cancel(name: str) -> None:
    """Stop after the next token. An unknown id, or one that has ended, is no error."""
    job = _jobs.get(name)
    if job:
        job.cancelled = True


def to_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain data; means of nothing become None. With histograms over the models."""

    def plain(some: Mean) -> dict[str, Any] | None:
        finite = {key: value if np.isfinite(value) else None for key, value in asdict(some).items()}
        return finite if some.n else None

    def over(of: Callable[[Compared], float | None]) -> list[list[float]]:
        return [
            [v for a in comparison.answers if a.model == j and (v := of(a)) is not None]
            for j in range(len(comparison.length))
        ]

    return {
        "answers": [asdict(a) for a in comparison.answers],
        "gold": [plain(m) for m in comparison.gold],
        "length": [plain(m) for m in comparison.length],
        "kl": [plain(m) for m in comparison.kl],
        "histograms": {
            "gold": histogram(over(lambda a: a.gold)),
            "length": histogram(over(lambda a: a.tokens)),
            "kl": histogram(over(lambda a: a.kl)),
        },
    }


def _attached(model: Model, what: Any) -> str | None:
    return what if what is None or what in model.adapters else model.attach(what)

"""A look at a batch of held-out prompts: every model answers each once, in the background, and keeps its answers.

Answers lie in the workspace as measured/KEY.json, one file per model and strength, so that a second look at a model,
beside whichever other, costs nothing. The prompts and the seed are the same for all, so figures are paired.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

from workbench.intervals import GAP
from workbench.measure.winrate import FEWEST, mean, paired_difference, win_rate
from workbench.models import origin
from workbench.processes import read_json, write_atomic
from workbench.records import Sampling, how_many
from workbench.ui.context import Context, Refused

PROMPTS = 100
AT_ONCE = 20  # prompts between two looks of the page
SAMPLING = Sampling(temperature=0.8, seed=0)


@dataclass(frozen=True)
class Candidate:
    """A model to measure: its run (None = base), strength, run folder, name and colour on the page."""

    run: int | None
    strength: float
    folder: Path | None
    label: str
    colour: str


@dataclass
class Measurement:
    """A measurement that is under way."""

    message: str = ""
    stopped: bool = False
    running: bool = True
    error: str = ""


class Measurements:
    """The measurements of this page's process, by what is measured."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_name: dict[str, Measurement] = {}


def _measurements(context: Context) -> Measurements:
    return context.part("measurements", Measurements)


def has_gold(context: Context) -> bool:
    """Whether answers can be scored: only the sandbox's world is known well enough."""
    return context.settings.model == "sandbox"


def prompts(context: Context, n: int, seed: int = 0) -> list[str]:
    """Up to n held-out prompts, always the same: of the sandbox's world, else those in the store."""
    if has_gold(context):
        return list(_sandbox_prompts(n, seed))
    texts = [p.text for p in context.store.prompts("heldout")]
    lengths = context.too_long(texts)
    return [text for text in texts if text not in lengths][:n]


@cache
def _sandbox_prompts(n: int, seed: int) -> tuple[str, ...]:
    from workbench.sandbox import world

    return tuple(p.text for p in world.sample(n, "heldout", seed=seed))


def start(context: Context, candidates: list[Candidate]) -> None:
    """Measure what is not measured yet, on a thread of its own. Already under way: nothing."""
    texts = prompts(context, PROMPTS)
    if not texts:
        raise Refused("There are no held-out prompts yet; about one prompt in seven is held out. Add more prompts.")
    name, measurements = _name(context, candidates, texts), _measurements(context)
    with measurements.lock:
        if name in measurements.by_name and measurements.by_name[name].running:
            return
        measurement = measurements.by_name[name] = Measurement()
    threading.Thread(target=_work, args=(context, candidates, texts, measurement), name="measure", daemon=True).start()


def stop(context: Context, candidates: list[Candidate]) -> None:
    """Stop after the answers under way."""
    measurement = _measurements(context).by_name.get(_name(context, candidates, prompts(context, PROMPTS)))
    if measurement is not None:
        measurement.stopped = True


def report(context: Context, candidates: list[Candidate]) -> dict[str, Any]:
    """State ("none", "running", "done" or "failed"), how far, and the plots of what there is so far."""
    texts = prompts(context, PROMPTS)
    measurement = _measurements(context).by_name.get(_name(context, candidates, texts))
    answers = [_read(context, candidate, texts) for candidate in candidates]
    done, total = sum(map(len, answers)), len(texts) * len(candidates)
    state, text = ("done", "") if total and done == total else ("none", "")
    if measurement is not None and measurement.running:
        state, text = "running", measurement.message or f"{done:,} of {total:,} answers"
    elif measurement is not None and measurement.error:
        state, text = "failed", measurement.error
    n = min(map(len, answers), default=0)
    result = summary(candidates, [a[:n] for a in answers]) if n >= min(AT_ONCE, len(texts) or 1) else None
    return {"state": state, "words": text, "done": done, "total": total, "result": result}


def _work(context: Context, candidates: list[Candidate], texts: list[str], measurement: Measurement) -> None:
    from workbench import models
    from workbench.measure.compare import compare

    try:
        if not models.loaded(context.settings):
            measurement.message = "Loading the model"
        model = context.model()
        measurement.message = ""
        for k in range(0, len(texts), AT_ONCE):
            for candidate in candidates:
                answers = _read(context, candidate, texts)
                if len(answers) > k or measurement.stopped:
                    continue
                batch = texts[len(answers) : k + AT_ONCE]
                adapter = model.attach(candidate.folder) if candidate.folder is not None else None
                comparison = compare(
                    model, batch, [(adapter, candidate.strength)], SAMPLING, should_stop=lambda: measurement.stopped
                )
                if measurement.stopped:  # its last answers were cut short
                    break
                rows = [{"tokens": a.tokens, "kl": a.kl, "gold": a.gold, "text": a.text} for a in comparison.answers]
                _write(context, candidate, texts, answers + rows)
    except Exception as error:  # whatever it is, the page must hear of it
        measurement.error = f"Measuring stopped: {error or type(error).__name__}. Answers written so far are kept."
    finally:
        measurement.running = False


# Kept answers


def _key(context: Context, candidate: Candidate, texts: list[str]) -> str:
    weights = candidate.folder / "adapter" / "adapter_model.safetensors" if candidate.folder else None
    written_at = weights.stat().st_mtime_ns if weights else 0
    base = list(origin.of(context.settings.model).values())
    identity = [*base, candidate.run, written_at, candidate.strength, texts, SAMPLING.temperature, SAMPLING.seed]
    return blake2b(json.dumps(identity).encode(), digest_size=12).hexdigest()


def _name(context: Context, candidates: list[Candidate], texts: list[str]) -> str:
    return "+".join(_key(context, candidate, texts) for candidate in candidates)


def _file(context: Context, candidate: Candidate, texts: list[str]) -> Path:
    return context.settings.workspace / "measured" / f"{_key(context, candidate, texts)}.json"


def _read(context: Context, candidate: Candidate, texts: list[str]) -> list[dict[str, Any]]:
    """Answers that are kept; none where the file was spoiled, since they can be asked for again."""
    answers = read_json(_file(context, candidate, texts)).get("answers", [])
    return answers if isinstance(answers, list) and all(map(_usable, answers)) else []


def _usable(answer: Any) -> bool:
    keys = {"tokens": int | float, "kl": int | float, "gold": int | float | None, "text": str}
    return isinstance(answer, dict) and all(isinstance(answer.get(key), kind) for key, kind in keys.items())


def _write(context: Context, candidate: Candidate, texts: list[str], answers: list[dict[str, Any]]) -> None:
    file = _file(context, candidate, texts)
    file.parent.mkdir(exist_ok=True)
    conditions = {
        "run": candidate.run,
        "strength": candidate.strength,
        "seed": SAMPLING.seed,
        "temperature": SAMPLING.temperature,
    }
    write_atomic(
        file, json.dumps(conditions | {"prompts": texts[: len(answers)], "answers": answers}, ensure_ascii=False)
    )


# What it says


def summary(candidates: list[Candidate], answers: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Plots of gold (if there is one), length and KL, each with what to make of it; answers[i][k] is model i on prompt k."""
    n = len(answers[0])
    last = len(candidates) - 1
    plots, gold_sentences = [], []
    scored = [k for k in range(n) if all(a[k]["gold"] is not None for a in answers)]
    if scored:
        gold = [[a[k]["gold"] for k in scored] for a in answers]
        plots.append(
            _plot(
                "Gold score",
                "score, 0 to 1",
                candidates,
                gold,
                _gold_sentence(candidates, gold),
                edges=_edges(0, 1, 0.1),
            )
        )
        for i in range(1, len(candidates)):
            rate = win_rate(gold[0], gold[i])
            gold_sentences.append(
                f"By gold score, {candidates[i].label} wins {100 * rate.value:.0f} % "
                f"({100 * rate.low:.0f} to {100 * rate.high:.0f}) against {_inline_label(candidates[0])}, n {rate.n}; ties count half."
            )
    length = [[float(row["tokens"]) for row in a] for a in answers]
    plots.append(_plot("Length", "tokens", candidates, length, _length_sentence(length[0], length[last]), digits=0))
    run_places = [i for i, candidate in enumerate(candidates) if candidate.run is not None]
    kls = [[row["kl"] for row in answers[i]] for i in run_places]
    caption = "How far each answer is from the base, which is at 0."
    plots.append(
        _plot("KL from the base", "nats per answer", [candidates[i] for i in run_places], kls, caption, digits=1)
    )
    return {
        "key": f"{[v.label for v in candidates]}",
        "plots": plots,
        "models": [{"label": v.label, "colour": v.colour} for v in candidates],
        "words": f"{how_many(n, 'held-out prompts')}, one answer each at temperature {SAMPLING.temperature}; dotted lines are means.",
        "gold_words": gold_sentences,
    }


def _plot(
    title: str,
    unit: str,
    candidates: list[Candidate],
    values: list[list[float]],
    sentence: str,
    edges: list[float] | None = None,
    digits: int = 2,
) -> dict[str, Any]:
    pooled = [v for sample in values for v in sample]
    edges = edges or _edges(min(pooled), max(pooled))
    series = []
    for i, (candidate, sample) in enumerate(zip(candidates, values, strict=True)):
        is_older = any(v.colour == candidate.colour and (v.run or 0) > (candidate.run or 0) for v in candidates)
        series.append(
            {
                "model": candidate.colour,
                "label": candidate.label,
                "faint": is_older,
                "mean": mean(values[i]).value,
                "shares": [100 * k / len(sample) for k in counts(sample, edges)],
            }
        )
    return {
        "title": title,
        "unit": "% of answers",
        "xTitle": unit,
        "edges": edges,
        "digits": digits,
        "series": series,
        "sentence": sentence,
    }


def counts(values: list[float], edges: list[float]) -> list[int]:
    """How many values fall into each bin [edge, next edge); the last bin takes its upper edge too."""
    totals = [0] * (len(edges) - 1)
    for value in values:
        index = sum(value >= edge - 1e-9 for edge in edges) - 1
        totals[min(max(index, 0), len(totals) - 1)] += 1
    return totals


def _edges(low: float, high: float, step: float | None = None) -> list[float]:
    """About 14 bins with round edges that hold low to high."""
    if step is None:
        rough = max(high - low, 1e-6) / 14
        power = 10.0 ** floor(log10(rough))
        step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, max(last, first + 1) + 1)]


def _inline_label(candidate: Candidate) -> str:
    return "the base" if candidate.run is None else candidate.label


def _gold_sentence(candidates: list[Candidate], gold: list[list[float]]) -> str:
    if len(gold[0]) < 2:
        return ""
    gap = paired_difference(gold[0], gold[-1], GAP)
    return f"{candidates[-1].label} minus {_inline_label(candidates[0])}: {gap.summary()}."


def _length_sentence(first: list[float], last: list[float]) -> str:
    if len(first) < FEWEST:
        return ""
    longest = max(*first, *last)
    gap = paired_difference(first, last, (-longest, longest))
    if not gap.clear:
        return f"No clear change in length (n {gap.n}), so length is unlikely to explain a gain."
    if gap.value < 0:
        return "Answers became shorter, so length does not explain a gain."
    return f"Answers grew by {how_many(round(gap.value), 'tokens')}: check whether length alone explains a gain."

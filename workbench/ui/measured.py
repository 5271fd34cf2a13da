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
class Voice:
    """A model to measure: its run (None = base), strength, run folder, name and colour on the page."""

    run: int | None
    strength: float
    folder: Path | None
    label: str
    colour: str


@dataclass
class Look:
    """A measuring that is under way."""

    words: str = ""
    stopped: bool = False
    running: bool = True
    failed: str = ""


class Looks:
    """The measurings of this page's process, by what is measured."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_name: dict[str, Look] = {}


def _looks(context: Context) -> Looks:
    return context.part("looks", Looks)


def has_gold(context: Context) -> bool:
    """Whether answers can be scored: only the sandbox's world is known well enough."""
    return context.settings.model == "sandbox"


def prompts(context: Context, n: int, seed: int = 0) -> list[str]:
    """Up to n held-out prompts, always the same: of the sandbox's world, else those in the store."""
    if has_gold(context):
        return list(_of_the_world(n, seed))
    texts = [p.text for p in context.store.prompts("heldout")]
    long = context.too_long(texts)
    return [text for text in texts if text not in long][:n]


@cache
def _of_the_world(n: int, seed: int) -> tuple[str, ...]:
    from workbench.sandbox import world

    return tuple(p.text for p in world.sample(n, "heldout", seed=seed))


def start(context: Context, voices: list[Voice]) -> None:
    """Measure what is not measured yet, on a thread of its own. Already under way: nothing."""
    asked = prompts(context, PROMPTS)
    if not asked:
        raise Refused("There are no held-out prompts yet; about one prompt in seven is held out. Add more prompts.")
    name, looks = _name(context, voices, asked), _looks(context)
    with looks.lock:
        if name in looks.by_name and looks.by_name[name].running:
            return
        look = looks.by_name[name] = Look()
    threading.Thread(target=_work, args=(context, voices, asked, look), name="measure", daemon=True).start()


def stop(context: Context, voices: list[Voice]) -> None:
    """Stop after the answers under way."""
    look = _looks(context).by_name.get(_name(context, voices, prompts(context, PROMPTS)))
    if look is not None:
        look.stopped = True


def look(context: Context, voices: list[Voice]) -> dict[str, Any]:
    """State ("none", "running", "done" or "failed"), how far, and the plots of what there is so far."""
    asked = prompts(context, PROMPTS)
    under_way = _looks(context).by_name.get(_name(context, voices, asked))
    answers = [_read(context, voice, asked) for voice in voices]
    done, total = sum(map(len, answers)), len(asked) * len(voices)
    state, text = ("done", "") if total and done == total else ("none", "")
    if under_way is not None and under_way.running:
        state, text = "running", under_way.words or f"{done:,} of {total:,} answers"
    elif under_way is not None and under_way.failed:
        state, text = "failed", under_way.failed
    shared = min(map(len, answers), default=0)
    result = summary(voices, [a[:shared] for a in answers]) if shared >= min(AT_ONCE, len(asked) or 1) else None
    return {"state": state, "words": text, "done": done, "total": total, "result": result}


def _work(context: Context, voices: list[Voice], asked: list[str], look: Look) -> None:
    from workbench import models
    from workbench.measure.compare import compare

    try:
        if not models.loaded(context.settings):
            look.words = "Loading the model"
        model = context.model()
        look.words = ""
        for k in range(0, len(asked), AT_ONCE):
            for voice in voices:
                known = _read(context, voice, asked)
                if len(known) > k or look.stopped:
                    continue
                part = asked[len(known) : k + AT_ONCE]
                adapter = model.attach(voice.folder) if voice.folder is not None else None
                found = compare(model, part, [(adapter, voice.strength)], SAMPLING, should_stop=lambda: look.stopped)
                if look.stopped:  # its last answers were cut short
                    break
                kept = [{"tokens": a.tokens, "kl": a.kl, "gold": a.gold, "text": a.text} for a in found.answers]
                _write(context, voice, asked, known + kept)
    except Exception as error:  # whatever it is, the page must hear of it
        look.failed = f"Measuring stopped: {error or type(error).__name__}. Answers written so far are kept."
    finally:
        look.running = False


# Kept answers


def _key(context: Context, voice: Voice, asked: list[str]) -> str:
    weights = voice.folder / "adapter" / "adapter_model.safetensors" if voice.folder else None
    made = weights.stat().st_mtime_ns if weights else 0
    base = list(origin.of(context.settings.model).values())
    what = [*base, voice.run, made, voice.strength, asked, SAMPLING.temperature, SAMPLING.seed]
    return blake2b(json.dumps(what).encode(), digest_size=12).hexdigest()


def _name(context: Context, voices: list[Voice], asked: list[str]) -> str:
    return "+".join(_key(context, voice, asked) for voice in voices)


def _file(context: Context, voice: Voice, asked: list[str]) -> Path:
    return context.settings.workspace / "measured" / f"{_key(context, voice, asked)}.json"


def _read(context: Context, voice: Voice, asked: list[str]) -> list[dict[str, Any]]:
    """Answers that are kept; none where the file was spoiled, since they can be asked for again."""
    answers = read_json(_file(context, voice, asked)).get("answers", [])
    return answers if isinstance(answers, list) and all(map(_usable, answers)) else []


def _usable(answer: Any) -> bool:
    keys = {"tokens": int | float, "kl": int | float, "gold": int | float | None, "text": str}
    return isinstance(answer, dict) and all(isinstance(answer.get(key), kind) for key, kind in keys.items())


def _write(context: Context, voice: Voice, asked: list[str], answers: list[dict[str, Any]]) -> None:
    file = _file(context, voice, asked)
    file.parent.mkdir(exist_ok=True)
    kept = {"run": voice.run, "strength": voice.strength, "seed": SAMPLING.seed, "temperature": SAMPLING.temperature}
    write_atomic(file, json.dumps(kept | {"prompts": asked[: len(answers)], "answers": answers}, ensure_ascii=False))


# What it says


def summary(voices: list[Voice], answers: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Plots of gold (if there is one), length and KL, each with what to make of it; answers[i][k] is model i on prompt k."""
    n = len(answers[0])
    last = len(voices) - 1
    plots, by_gold = [], []
    scored = [k for k in range(n) if all(a[k]["gold"] is not None for a in answers)]
    if scored:
        gold = [[a[k]["gold"] for k in scored] for a in answers]
        plots.append(
            _plot("Gold score", "score, 0 to 1", voices, gold, _gold_words(voices, gold), edges=_edges(0, 1, 0.1))
        )
        for i in range(1, len(voices)):
            found = win_rate(gold[0], gold[i])
            by_gold.append(
                f"By gold score, {voices[i].label} wins {100 * found.value:.0f} % "
                f"({100 * found.low:.0f} to {100 * found.high:.0f}) against {_lower(voices[0])}, n {found.n}; ties count half."
            )
    length = [[float(row["tokens"]) for row in a] for a in answers]
    plots.append(_plot("Length", "tokens", voices, length, _length_words(length[0], length[last]), digits=0))
    moved = [i for i, voice in enumerate(voices) if voice.run is not None]
    kls = [[row["kl"] for row in answers[i]] for i in moved]
    words = "How far each answer is from the base, which is at 0."
    plots.append(_plot("KL from the base", "nats per answer", [voices[i] for i in moved], kls, words, digits=1))
    return {
        "key": f"{[v.label for v in voices]}",
        "plots": plots,
        "models": [{"label": v.label, "colour": v.colour} for v in voices],
        "words": f"{how_many(n, 'held-out prompts')}, one answer each at temperature {SAMPLING.temperature}; dotted lines are means.",
        "gold_words": by_gold,
    }


def _plot(
    title: str, unit: str, voices: list[Voice], values: list[list[float]], words: str, edges=None, digits: int = 2
) -> dict[str, Any]:
    every = [v for some in values for v in some]
    edges = edges or _edges(min(every), max(every))
    series = []
    for i, (voice, some) in enumerate(zip(voices, values, strict=True)):
        older = any(v.colour == voice.colour and (v.run or 0) > (voice.run or 0) for v in voices)
        series.append(
            {
                "model": voice.colour,
                "label": voice.label,
                "faint": older,
                "mean": mean(values[i]).value,
                "shares": [100 * k / len(some) for k in counts(some, edges)],
            }
        )
    return {
        "title": title,
        "unit": "% of answers",
        "xTitle": unit,
        "edges": edges,
        "digits": digits,
        "series": series,
        "sentence": words,
    }


def counts(values: list[float], edges: list[float]) -> list[int]:
    """How many values fall into each bin [edge, next edge); the last bin takes its upper edge too."""
    found = [0] * (len(edges) - 1)
    for value in values:
        inside = sum(value >= edge - 1e-9 for edge in edges) - 1
        found[min(max(inside, 0), len(found) - 1)] += 1
    return found


def _edges(low: float, high: float, step: float | None = None) -> list[float]:
    """About 14 bins with round edges that hold low to high."""
    if step is None:
        rough = max(high - low, 1e-6) / 14
        power = 10.0 ** floor(log10(rough))
        step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, max(last, first + 1) + 1)]


def _lower(voice: Voice) -> str:
    return "the base" if voice.run is None else voice.label


def _gold_words(voices: list[Voice], gold: list[list[float]]) -> str:
    if len(gold[0]) < 2:
        return ""
    gap = paired_difference(gold[0], gold[-1], GAP)
    return f"{voices[-1].label} minus {_lower(voices[0])}: {gap.words()}."


def _length_words(first: list[float], last: list[float]) -> str:
    if len(first) < FEWEST:
        return ""
    longest = max(*first, *last)
    gap = paired_difference(first, last, (-longest, longest))
    if not gap.clear:
        return f"No clear change in length (n {gap.n}), so length is unlikely to explain a gain."
    if gap.value < 0:
        return "Answers became shorter, so length does not explain a gain."
    return f"Answers grew by {how_many(round(gap.value), 'tokens')}: check whether length alone explains a gain."

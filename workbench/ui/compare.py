"""The Compare tab: the same prompt and seed to several models, blind until the vote; what votes and held-out prompts say.

Every function takes (context, payload) and returns plain JSON; static/compare.js calls them. Which model is behind which
letter stays in here until the vote: the page of a blind comparison is told only the texts.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from workbench.jobs.runs import Run, find_run, list_runs
from workbench.learn.catalogue import METHODS
from workbench.measure import compare as side_by_side
from workbench.measure.winrate import Rate, rate
from workbench.models import origin
from workbench.records import Response, Sampling, Verdict, how_many, split_of
from workbench.ui import measured as held_out
from workbench.ui import rewards
from workbench.ui.charts import plotly_url
from workbench.ui.context import Context, Refused
from workbench.ui.payload import seconds, takes, words
from workbench.ui.runs import data_text, named

LETTERS = "ABCDEF"
OFFERED = 60  # held-out prompts to step through
ENOUGH_VOTES = 10
KEPT = 200  # comparisons remembered, over all pages

Line = list[tuple[int | None, float]]  # run (None = base) and strength of each model, the base first


@dataclass
class Ask:
    """One prompt asked of several models. `order[slot]` is the place in `models` of the answer shown there."""

    job: str
    rater: str
    prompt: str
    models: Line
    order: list[int]
    blind: bool
    sampling: Sampling
    answers: list[dict[str, Any]] = field(default_factory=list)  # by model, once all are complete
    responses: list[Response] = field(default_factory=list)  # by model, once voted on
    verdict: int | None = None
    votes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def asks(context: Context) -> OrderedDict[str, Ask]:
    """What this page's process has been asked, by name, newest last."""
    return context.part("asks", OrderedDict)


def tab(context: Context) -> None:
    """Put the tab's one element into the page that is being built."""
    from workbench.ui.shell import panel

    functions = [choices, ask, stream, cancel, vote, undo, reward, tally, measure, measured, stop_measuring]
    panel(context, "compare", functions, before=("charts",))


@takes()
def choices(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The models that can be compared, held-out prompts to ask, and what can be measured."""
    models: list[dict[str, Any]] = [{"run": None, "label": "Base", "colour": "base", "note": ""}]
    models += [
        {"run": r.number, "label": named(r), "colour": METHODS[r.method].colour, "note": data_text(r)}
        for r in _trained(context)
    ]
    judged = {v.prompt for v in context.store.verdicts() if v.rater == payload.get("rater")}
    prompts = sorted(held_out.prompts(context, OFFERED, seed=1), key=lambda text: text in judged)
    what = "gold score, length and KL" if held_out.has_gold(context) else "length and KL"
    n = len(held_out.prompts(context, held_out.PROMPTS))
    return {
        "models": models,
        "rewards": [{"run": r.number, "label": rewards.label(r)} for r in rewards.here(context)],
        "prompts": prompts,
        "plotly": plotly_url(),
        "measure_n": n,
        "measure_words": f"One answer per prompt: {what}, with 95 % intervals.",
    }


@takes(
    prompt=str, runs=list[int | None], strength=float | None, blind=bool | None, like=str | None, replaces=str | None
)
def ask(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Ask the models the prompt, in one batch and with the same random numbers; `replaces` is given up for it.

    `like` names an earlier question whose seed and sides are kept, which only one that is not blind may do: with the
    same sides, moving the strength would show which answer changes with it.
    """
    prompt = words(payload, "prompt", longest=20_000).strip()
    models = _models(context, payload)
    blind = payload.get("blind") is True
    cancel(context, {"id": payload.get("replaces")})
    earlier = _known(context, payload.get("like"))
    order = list(range(len(models)))
    random.SystemRandom().shuffle(order)
    sampling = Sampling(seed=secrets.randbelow(2**31))
    if earlier is not None and not blind and [m[0] for m in earlier.models] == [m[0] for m in models]:
        order, sampling = earlier.order, earlier.sampling
    folders = {r.number: r.folder for r in _trained(context)}
    try:
        job = side_by_side.start(
            context.model, [prompt], [(folders[run] if run is not None else None, s) for run, s in models], sampling
        )
    except ValueError as error:
        raise Refused(str(error)) from error
    name = secrets.token_hex(12)
    kept = asks(context)
    kept[name] = Ask(job, str(payload.get("rater")), prompt, models, order, blind, sampling)
    while len(kept) > KEPT:
        kept.popitem(last=False)
    return {"id": name, "heldout": split_of(prompt) == "heldout"}


@takes(id=str, version=int | None)
def stream(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The texts that have grown since `version`, by slot; once done, who wrote which, unless that is for after a vote."""
    one = _ask(context, payload)
    try:
        news = side_by_side.poll(one.job, max(0, payload.get("version") or 0))
    except KeyError as error:
        raise Refused("This comparison is over. Ask again.") from error
    slots = {place: slot for slot, place in enumerate(one.order)}
    answer: dict[str, Any] = {"state": "writing", "words": _loading(context), "version": news["cursor"]}
    answer["texts"] = {str(slots[row["row"]]): row["text"] for row in news["rows"]}
    if not news["done"]:
        return answer
    if news["error"]:
        return answer | {"state": "failed", "error": f"The answers could not be written: {news['error']}"}
    if news["result"] is None:
        return answer | {"state": "cancelled"}
    one.answers = news["result"]["answers"]
    # the stream rests between two looks at a text: the complete ones are these
    answer["texts"] = {str(slots[a["model"]]): a["text"] for a in one.answers}
    return answer | {"state": "done", "reveal": None if one.blind else reveal(context, one)}


@takes(id=str | None)
def cancel(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Stop writing the answers of a question, if it is still known."""
    one = _known(context, payload.get("id"))
    if one is not None:
        side_by_side.cancel(one.job)
    return {}


@takes(id=str, choice=int | str, seconds=Any)
def vote(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Store a blind vote (a slot's number, "tie" or "bad") and show who wrote what. Sent twice it is stored once."""
    one, choice = _ask(context, payload), payload["choice"]
    if choice not in ("tie", "bad") and not (isinstance(choice, int) and 0 <= choice < len(one.models)):
        raise Refused(f"{choice!r} is not an answer you can vote for.")
    if one.rater != payload.get("rater"):
        raise Refused("Somebody else asked this question. Ask it yourself to vote.")
    with one.lock:
        if not one.answers or not one.blind:
            raise Refused("You can vote only in a blind comparison, once its answers are complete.")
        if one.verdict is None:
            one.verdict = _store(context, one, choice, seconds(payload)).id
            one.votes += 1
    who = reveal(context, one)
    if isinstance(choice, int):
        said = f"You preferred answer {LETTERS[choice]}: {_spoken(context, one.models[one.order[choice]])}."
    else:
        said = "You found them equally good." if choice == "tie" else "You found none of them good."
    return {"verdict": one.verdict, "said": said, "reveal": who, "tally": _tally(context, one.models)}


@takes(id=str)
def undo(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Take the vote on a question back; it can then be voted on again."""
    one = _ask(context, payload)
    if one.rater != payload.get("rater"):
        raise Refused("This is somebody else's vote.")
    with one.lock:
        if one.verdict is not None:
            context.store.delete_verdict(one.verdict)
            one.verdict = None
    return {"tally": _tally(context, one.models)}


@takes(id=str, run=int)
def reward(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """What a reward model thinks of each answer, by slot. Of a blind comparison only after the vote it would bias."""
    one, run = _ask(context, payload), payload["run"]
    with one.lock:
        if not one.answers or (one.blind and one.verdict is None):
            raise Refused("Rewards appear once the answers are complete; in a blind comparison, after your vote.")
    found = rewards.model(context, run).score([one.prompt] * len(one.answers), [a["text"] for a in one.answers])
    return {"figures": [f"reward {found[place]:.2f}, run {run}".replace("-", "−") for place in one.order]}


@takes(runs=list[int | None], strength=float | None)
def tally(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """What the blind votes say about each pair of the models."""
    return _tally(context, _models(context, payload))


@takes(runs=list[int | None], strength=float | None)
def measure(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Let the models answer a batch of held-out prompts in the background; what is known already is not asked again."""
    models = _models(context, payload)
    held_out.start(context, _voices(context, models))
    return measured(context, payload)


@takes(runs=list[int | None], strength=float | None)
def measured(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """How far that is, and what has come out so far."""
    return held_out.look(context, _voices(context, _models(context, payload)))


@takes(runs=list[int | None], strength=float | None)
def stop_measuring(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Stop it; answers written so far are kept."""
    held_out.stop(context, _voices(context, _models(context, payload)))
    return {}


# Who and what


def _trained(context: Context) -> list[Run]:
    """Runs of this page's model whose adapter answers and is not being trained now, newest first."""
    here = context.settings
    every = [r for r in list_runs(here.workspace) if origin.same(r.config, here.model)]
    return [r for r in every if r.adapter and not r.active]


def _models(context: Context, payload: dict[str, Any]) -> Line:
    runs, strength = payload["runs"], payload.get("strength", 1.0)
    if strength is None or not 0 <= strength <= 1.5:
        raise Refused("The strength must lie between 0 and 1.5.")
    if not 2 <= len(runs) <= len(LETTERS) or len(set(runs)) != len(runs):
        raise Refused("Choose two to six different models.")
    there = {None, *(r.number for r in _trained(context))}
    gone = [run for run in runs if run not in there]
    if gone:
        raise Refused(f"Run {gone[0]} has no finished model to compare. Choose another one.")
    strength = round(float(strength), 2)
    return sorted(((run, strength if run is not None else 1.0) for run in runs), key=lambda m: m[0] or 0)


def _voices(context: Context, models: Line) -> list[held_out.Voice]:
    runs = {r.number: r for r in _trained(context)}
    return [
        held_out.Voice(run, strength, runs[run].folder if run else None, *_look(context, (run, strength)))
        for run, strength in models
    ]


def _look(context: Context, model: tuple[int | None, float]) -> tuple[str, str]:
    """(name, colour) of a model; a strength other than 1 belongs to the name."""
    run, strength = model
    if run is None:
        return "Base", "base"
    found = find_run(context.settings.workspace, run)
    return named(found) + ("" if strength == 1 else f" at {strength:.2f}"), METHODS[found.method].colour


def _spoken(context: Context, model: tuple[int | None, float]) -> str:
    if model[0] is None:
        return "the base"
    return f"{named(find_run(context.settings.workspace, model[0]))}, at strength {model[1]:.2f}"


def _ask(context: Context, payload: dict[str, Any]) -> Ask:
    one = _known(context, payload.get("id"))
    if one is None:
        raise Refused("This comparison is over. Ask again.")
    return one


def _known(context: Context, name: Any) -> Ask | None:
    return asks(context).get(name) if isinstance(name, str) else None


def _loading(context: Context) -> str:
    from workbench import models

    if models.loaded(context.settings):
        return "Writing the answers"
    return f"Loading the model, {100 * models.progress()[1]:.0f} %"


def reveal(context: Context, one: Ask) -> list[dict[str, Any]]:
    """Per slot: who wrote the answer, its figures, and its text in pieces with what differs marked.

    With a base among two models, words only in the other's answer are "new", words only in the base's "old". Among
    more than two, every answer is marked against the first, which is left unmarked.
    """
    found = []
    for slot, place in enumerate(one.order):
        answer, model = one.answers[place], one.models[place]
        label, colour = _look(context, model)
        mark = "new" if place else "old"
        plain = place == 0 and len(one.models) > 2
        pieces = [{"text": text, "mark": mark if differs and not plain else None} for text, differs in answer["spans"]]
        figures = [] if answer["gold"] is None else [f"gold {answer['gold']:.2f}, {answer['style']}"]
        figures.append(how_many(answer["tokens"], "tokens"))
        if model[0] is not None:
            figures.append(f"KL {round(answer['kl'], 1) + 0.0:.1f} nats".replace("-", "−"))  # + 0.0: no minus zero
        if not answer["ended"]:
            figures.append("no end token")
        was = f"was answer {LETTERS[slot]}" if one.blind else f"answer {LETTERS[slot]}"
        found.append({"label": label, "colour": colour, "was": was, "spans": pieces, "figures": figures})
    return found


# Votes


def _store(context: Context, one: Ask, choice: int | str, took: float | None) -> Verdict:
    store = context.store
    prompt = store.add_prompts([one.prompt], "person")[0]
    if not one.responses:
        one.responses = store.add_responses(
            [
                Response(
                    id=0,
                    prompt_id=prompt.id,
                    text=answer["text"],
                    model=context.settings.model,
                    run=run,
                    sampling=one.sampling,
                    strength=strength,
                    tokens=answer["tokens"],
                    ended=answer["ended"],
                )
                for (run, strength), answer in zip(one.models, one.answers, strict=True)
            ]
        )
    shown = [one.responses[place].id for place in one.order]
    picked: Any = shown[choice] if isinstance(choice, int) else choice
    token = f"{one.job}-{one.votes}"
    return store.add_verdict(prompt.id, shown, picked, one.rater, seconds=took, token=token)


def _tally(context: Context, models: Line) -> dict[str, Any]:
    by_id = {r.id: r for r in context.store.responses()}
    pairs, simulated = [], []
    for other in models[1:]:
        pair = (models[0], other)
        people = [v for v in context.store.verdicts() if not v.simulated]
        machines = [v for v in context.store.verdicts() if v.simulated]
        found, on_train = _count(context, pair, people, by_id)
        pairs.append(_said(context, pair, found, on_train, alone=len(models) == 2))
        found, _ = _count(context, pair, machines, by_id)
        if found.n:
            names = [_look(context, m)[0] for m in pair]
            simulated.append(
                f"Simulated raters, not counted above: {names[1]} wins {_interval(found)} against {names[0]}, n {found.n}."
            )
    return {"pairs": pairs, "simulated": simulated}


def _count(
    context: Context, pair: tuple[Any, Any], verdicts: list[Verdict], by_id: dict[int, Response]
) -> tuple[Rate, int]:
    """How often the pair's second model won against its first, and how many of the votes were on training prompts.

    Both good and both bad are ties. A vote for a third model says nothing about these two.
    """
    wins = ties = losses = on_train = 0
    for verdict in verdicts:
        who = {_who(context, by_id.get(id)): id for id in verdict.shown}
        if pair[0] not in who or pair[1] not in who:
            continue
        if verdict.choice in ("tie", "bad"):
            ties += 1
        elif verdict.choice == who[pair[1]]:
            wins += 1
        elif verdict.choice == who[pair[0]]:
            losses += 1
        else:
            continue
        on_train += split_of(verdict.prompt) == "train"
    return rate(wins, ties, losses), on_train


def _who(context: Context, response: Response | None) -> tuple[int | None, float] | None:
    if response is None or response.author != "model" or response.model != context.settings.model:
        return None
    return (response.run, round(response.strength, 2)) if response.run is not None else (None, 1.0)


def _interval(found: Rate) -> str:
    return f"{100 * found.value:.0f} % ({100 * found.low:.0f} to {100 * found.high:.0f})"


def _said(context: Context, pair: tuple[Any, Any], found: Rate, on_train: int, alone: bool) -> dict[str, Any]:
    """A pair's win rate for the page, in figures and in words."""
    (first, _), (second, colour) = _look(context, pair[0]), _look(context, pair[1])
    against = "" if alone and pair[0][0] is None else f" against {first.lower() if pair[0][0] is None else first}"
    votes = how_many(found.n, "votes")
    if found.n < ENOUGH_VOTES:
        title = "Blind votes" if alone else f"Blind votes: {second}{against}"
        text = f"{votes}. The win rate appears at {ENOUGH_VOTES}."
        return {"ready": False, "title": title, "words": text}
    low, high = 100 * found.low, 100 * found.high
    if found.low > 0.5 or found.high < 0.5:
        meaning = "it excludes 50 %, so chance alone is unlikely."
    else:
        meaning = "it includes 50 %, so this may be chance."
    lost = f"{found.losses:,} {'loss' if found.losses == 1 else 'losses'}"
    counts = f"{how_many(found.wins, 'wins')}, {how_many(found.ties, 'ties')} and {lost}"
    text = f"{counts} in {votes}; ties count half. 95 % interval {low:.0f} to {high:.0f} %: {meaning}"
    if on_train:
        text += f" {how_many(on_train, 'votes')} {'was' if on_train == 1 else 'were'} on prompts that a run may have trained on."
    title = f"{second} wins {100 * found.value:.0f} % of blind votes{against}"
    spoken = f"{title}, 95 % interval {low:.0f} to {high:.0f} %, n {found.n}"
    figures = {"value": found.value, "low": found.low, "high": found.high, "n": found.n, "colour": colour}
    return {"ready": True, "title": title, "words": text, "spoken": spoken, **figures}

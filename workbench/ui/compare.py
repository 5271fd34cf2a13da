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
from typing import Any, Literal

from workbench.jobs.runs import Run, find_run, list_runs
from workbench.learn.catalogue import METHODS
from workbench.measure import compare
from workbench.measure.winrate import Rate, rate
from workbench.models import origin
from workbench.records import Response, Sampling, Verdict, how_many, split_of
from workbench.ui import measured as held_out
from workbench.ui import rewards
from workbench.ui.charts import plotly_url
from workbench.ui.context import Context, Refused
from workbench.ui.payload import read_seconds, read_text, takes
from workbench.ui.runs import data_text, starred_title

LETTERS = "ABCDEF"
STEP_PROMPTS = 60  # held-out prompts to step through
ENOUGH_VOTES = 10
MAX_QUESTIONS = 200  # comparisons remembered, over all pages

ModelKey = tuple[int | None, float]  # run (None = base) and strength


@dataclass
class Question:
    """One prompt asked of several models, the base first. `order[slot]` is the place in `models` of the answer shown there."""

    job: str
    rater: str
    prompt: str
    models: list[ModelKey]
    order: list[int]
    blind: bool
    sampling: Sampling
    answers: list[dict[str, Any]] = field(default_factory=list)  # by model, once all are complete
    responses: list[Response] = field(default_factory=list)  # by model, once voted on
    verdict: int | None = None
    votes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def questions(context: Context) -> OrderedDict[str, Question]:
    """What this page's process has been asked, by name, newest last."""
    return context.part("questions", OrderedDict[str, Question])


def tab(context: Context) -> None:
    """Put the tab's one element into the page that is being built."""
    from workbench.ui.shell import panel

    functions = [choices, ask, stream, cancel, vote, undo, reward, tally, measure, measured, stop_measuring]
    panel(context, "compare", functions, before=("charts",))


@takes("models")
def choices(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The models that can be compared, held-out prompts to ask, and what can be measured."""
    models: list[dict[str, Any]] = [{"run": None, "label": "Base", "colour": "base", "note": ""}]
    models += [
        {"run": r.number, "label": starred_title(r), "colour": METHODS[r.method].colour, "note": data_text(r)}
        for r in _finished_runs(context)
    ]
    past_prompts = {v.prompt for v in context.store.verdicts() if v.rater == payload.get("rater")}
    prompts = sorted(held_out.prompts(context, STEP_PROMPTS, seed=1), key=lambda text: text in past_prompts)
    measures = "gold score, length and KL" if held_out.has_gold(context) else "length and KL"
    n = len(held_out.prompts(context, held_out.PROMPTS))
    return {
        "models": models,
        "rewards": [{"run": r.number, "label": rewards.label(r)} for r in rewards.reward_model_runs(context)],
        "prompts": prompts,
        "plotly": plotly_url(),
        "measure_n": n,
        "measure_words": f"One answer per prompt: {measures}, with 95 % intervals.",
    }


@takes(
    prompt=str, runs=list[int | None], strength=float | None, blind=bool | None, like=str | None, replaces=str | None
)
def ask(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Ask the models the prompt, in one batch and with the same random numbers; `replaces` is given up for it.

    `like` names an earlier question whose seed and sides are kept, which only one that is not blind may do: with the
    same sides, moving the strength would show which answer changes with it.
    """
    prompt = read_text(payload, "prompt", longest=20_000).strip()
    models = _models(context, payload)
    blind = payload.get("blind") is True
    cancel(context, {"id": payload.get("replaces")})
    template = _find_question(context, payload.get("like"))
    order = list(range(len(models)))
    random.SystemRandom().shuffle(order)
    sampling = Sampling(seed=secrets.randbelow(2**31))
    if template is not None and not blind and [m[0] for m in template.models] == [m[0] for m in models]:
        order, sampling = template.order, template.sampling
    folders = {r.number: r.folder for r in _finished_runs(context)}
    try:
        job = compare.start(
            context.model, [prompt], [(folders[run] if run is not None else None, s) for run, s in models], sampling
        )
    except ValueError as error:
        raise Refused(str(error)) from error
    name = secrets.token_hex(12)
    history = questions(context)
    history[name] = Question(job, str(payload.get("rater")), prompt, models, order, blind, sampling)
    while len(history) > MAX_QUESTIONS:
        history.popitem(last=False)
    return {"id": name, "heldout": split_of(prompt) == "heldout"}


@takes("answers", id=str, version=int | None)
def stream(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The texts that have grown since `version`, by slot; once done, who wrote which, unless that is for after a vote."""
    question = _question(context, payload)
    try:
        update = compare.poll(question.job, max(0, payload.get("version") or 0))
    except KeyError as error:
        raise Refused("This comparison is over. Ask again.") from error
    slots = {place: slot for slot, place in enumerate(question.order)}
    answer: dict[str, Any] = {"state": "writing", "words": _loading_text(context), "version": update["cursor"]}
    answer["texts"] = {str(slots[row["row"]]): row["text"] for row in update["rows"]}
    if not update["done"]:
        return answer
    if update["error"]:
        return answer | {"state": "failed", "error": f"The answers could not be written: {update['error']}"}
    if update["result"] is None:
        return answer | {"state": "cancelled"}
    question.answers = update["result"]["answers"]
    # the stream rests between two looks at a text: the complete ones are these
    answer["texts"] = {str(slots[a["model"]]): a["text"] for a in question.answers}
    return answer | {"state": "done", "reveal": None if question.blind else reveal(context, question)}


@takes("cancel_answers", id=str | None)
def cancel(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Stop writing the answers of a question, if it is still known."""
    question = _find_question(context, payload.get("id"))
    if question is not None:
        compare.cancel(question.job)
    return {}


@takes("vote_blind", id=str, choice=int | str, seconds=float | None)
def vote(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Store a blind vote (a slot's number, "tie" or "bad") and show who wrote what. Sent twice it is stored once."""
    question, choice = _question(context, payload), payload["choice"]
    if choice not in ("tie", "bad") and not (isinstance(choice, int) and 0 <= choice < len(question.models)):
        raise Refused(f"{choice!r} is not an answer you can vote for.")
    if question.rater != payload.get("rater"):
        raise Refused("Somebody else asked this question. Ask it yourself to vote.")
    with question.lock:
        if not question.answers or not question.blind:
            raise Refused("You can vote only in a blind comparison, once its answers are complete.")
        if question.verdict is None:
            question.verdict = _store_vote(context, question, choice, read_seconds(payload)).id
            question.votes += 1
    rows = reveal(context, question)
    if isinstance(choice, int):
        message = (
            f"You preferred answer {LETTERS[choice]}: {_description(context, question.models[question.order[choice]])}."
        )
    else:
        message = "You found them equally good." if choice == "tie" else "You found none of them good."
    return {"verdict": question.verdict, "said": message, "reveal": rows, "tally": _tally(context, question.models)}


@takes("undo_blind_vote", id=str)
def undo(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Take the vote on a question back; it can then be voted on again."""
    question = _question(context, payload)
    if question.rater != payload.get("rater"):
        raise Refused("This is somebody else's vote.")
    with question.lock:
        if question.verdict is not None:
            context.store.delete_verdict(question.verdict)
            question.verdict = None
    return {"tally": _tally(context, question.models)}


@takes("answer_rewards", id=str, run=int)
def reward(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """What a reward model thinks of each answer, by slot. Of a blind comparison only after the vote it would bias."""
    question, run = _question(context, payload), payload["run"]
    with question.lock:
        if not question.answers or (question.blind and question.verdict is None):
            raise Refused("Rewards appear once the answers are complete; in a blind comparison, after your vote.")
    scores = rewards.model(context, run).score(
        [question.prompt] * len(question.answers), [a["text"] for a in question.answers]
    )
    return {"figures": [f"reward {scores[place]:.2f}, run {run}".replace("-", "−") for place in question.order]}


@takes("win_rates", runs=list[int | None], strength=float | None)
def tally(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """What the blind votes say about each pair of the models."""
    return _tally(context, _models(context, payload))


@takes(runs=list[int | None], strength=float | None)
def measure(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Let the models answer a batch of held-out prompts in the background; what is known already is not asked again."""
    models = _models(context, payload)
    held_out.start(context, _candidates(context, models))
    return measured(context, payload)


@takes("measurements", runs=list[int | None], strength=float | None)
def measured(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """How far that is, and what has come out so far."""
    return held_out.report(context, _candidates(context, _models(context, payload)))


@takes(runs=list[int | None], strength=float | None)
def stop_measuring(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Stop it; answers written so far are kept."""
    held_out.stop(context, _candidates(context, _models(context, payload)))
    return {}


# Who and what


def _finished_runs(context: Context) -> list[Run]:
    """Runs of this page's model whose adapter answers and is not being trained now, newest first."""
    settings = context.settings
    runs = [r for r in list_runs(settings.workspace) if origin.same(r.config, settings.model)]
    return [r for r in runs if r.adapter and not r.active]


def _models(context: Context, payload: dict[str, Any]) -> list[ModelKey]:
    runs, strength = payload["runs"], payload.get("strength", 1.0)
    if strength is None or not 0 <= strength <= 1.5:
        raise Refused("The strength must lie between 0 and 1.5.")
    if not 2 <= len(runs) <= len(LETTERS) or len(set(runs)) != len(runs):
        raise Refused("Choose two to six different models.")
    available = {None, *(r.number for r in _finished_runs(context))}
    missing = [run for run in runs if run not in available]
    if missing:
        raise Refused(f"Run {missing[0]} has no finished model to compare. Choose another one.")
    strength = round(float(strength), 2)
    return sorted(((run, strength if run is not None else 1.0) for run in runs), key=lambda m: m[0] or 0)


def _candidates(context: Context, models: list[ModelKey]) -> list[held_out.Candidate]:
    runs = {r.number: r for r in _finished_runs(context)}
    return [
        held_out.Candidate(
            run, strength, runs[run].folder if run else None, *_label_and_colour(context, (run, strength))
        )
        for run, strength in models
    ]


def _label_and_colour(context: Context, model: ModelKey) -> tuple[str, str]:
    """(name, colour) of a model; a strength other than 1 belongs to the name."""
    number, strength = model
    if number is None:
        return "Base", "base"
    run = find_run(context.settings.workspace, number)
    return run.title + ("" if strength == 1 else f" at {strength:.2f}"), METHODS[run.method].colour


def _description(context: Context, model: ModelKey) -> str:
    if model[0] is None:
        return "the base"
    return f"{find_run(context.settings.workspace, model[0]).title}, at strength {model[1]:.2f}"


def _question(context: Context, payload: dict[str, Any]) -> Question:
    question = _find_question(context, payload.get("id"))
    if question is None:
        raise Refused("This comparison is over. Ask again.")
    return question


def _find_question(context: Context, name: Any) -> Question | None:
    return questions(context).get(name) if isinstance(name, str) else None


def _loading_text(context: Context) -> str:
    from workbench import models

    if models.loaded(context.settings):
        return "Writing the answers"
    return f"Loading the model, {100 * models.progress()[1]:.0f} %"


def reveal(context: Context, question: Question) -> list[dict[str, Any]]:
    """Per slot: who wrote the answer, its figures, and its text in pieces with what differs marked.

    With a base among two models, words only in the other's answer are "new", words only in the base's "old". Among
    more than two, every answer is marked against the first, which is left unmarked.
    """
    rows = []
    for slot, place in enumerate(question.order):
        answer, model = question.answers[place], question.models[place]
        label, colour = _label_and_colour(context, model)
        mark = "new" if place else "old"
        is_unmarked = place == 0 and len(question.models) > 2
        pieces = [
            {"text": text, "mark": mark if differs and not is_unmarked else None} for text, differs in answer["spans"]
        ]
        figures = [] if answer["gold"] is None else [f"gold {answer['gold']:.2f}, {answer['style']}"]
        figures.append(how_many(answer["tokens"], "tokens"))
        if model[0] is not None:
            figures.append(f"KL {round(answer['kl'], 1) + 0.0:.1f} nats".replace("-", "−"))  # + 0.0: no minus zero
        if not answer["ended"]:
            figures.append("no end token")
        position = f"was answer {LETTERS[slot]}" if question.blind else f"answer {LETTERS[slot]}"
        rows.append({"label": label, "colour": colour, "was": position, "spans": pieces, "figures": figures})
    return rows


# Votes


def _store_vote(
    context: Context, question: Question, choice: int | Literal["tie", "bad"], duration: float | None
) -> Verdict:
    store = context.store
    prompt = store.add_prompts([question.prompt], "person")[0]
    if not question.responses:
        question.responses = store.add_responses(
            [
                Response(
                    id=0,
                    prompt_id=prompt.id,
                    text=answer["text"],
                    model=context.settings.model,
                    run=run,
                    sampling=question.sampling,
                    strength=strength,
                    tokens=answer["tokens"],
                    ended=answer["ended"],
                )
                for (run, strength), answer in zip(question.models, question.answers, strict=True)
            ]
        )
    shown = [question.responses[place].id for place in question.order]
    winner = shown[choice] if isinstance(choice, int) else choice
    token = f"{question.job}-{question.votes}"
    return store.add_verdict(prompt.id, shown, winner, question.rater, seconds=duration, token=token)


def _tally(context: Context, models: list[ModelKey]) -> dict[str, Any]:
    by_id = {r.id: r for r in context.store.responses()}
    verdicts = context.store.verdicts()
    human_verdicts = [v for v in verdicts if not v.simulated]
    simulated_verdicts = [v for v in verdicts if v.simulated]
    pairs, simulated = [], []
    for other in models[1:]:
        pair = (models[0], other)
        win_rate, on_train = _count(context, pair, human_verdicts, by_id)
        pairs.append(_pair_result(context, pair, win_rate, on_train, is_only=len(models) == 2))
        simulated_rate, _ = _count(context, pair, simulated_verdicts, by_id)
        if simulated_rate.n:
            names = [_label_and_colour(context, m)[0] for m in pair]
            simulated.append(
                f"Simulated raters, not counted above: {names[1]} wins {_interval(simulated_rate)} against {names[0]}, n {simulated_rate.n}."
            )
    return {"pairs": pairs, "simulated": simulated}


def _count(
    context: Context, pair: tuple[ModelKey, ModelKey], verdicts: list[Verdict], by_id: dict[int, Response]
) -> tuple[Rate, int]:
    """How often the pair's second model won against its first, and how many of the votes were on training prompts.

    Both good and both bad are ties. A vote for a third model says nothing about these two.
    """
    wins = ties = losses = on_train = 0
    for verdict in verdicts:
        by_model = {_author(context, by_id.get(id)): id for id in verdict.shown}
        if pair[0] not in by_model or pair[1] not in by_model:
            continue
        if verdict.choice in ("tie", "bad"):
            ties += 1
        elif verdict.choice == by_model[pair[1]]:
            wins += 1
        elif verdict.choice == by_model[pair[0]]:
            losses += 1
        else:
            continue
        on_train += split_of(verdict.prompt) == "train"
    return rate(wins, ties, losses), on_train


def _author(context: Context, response: Response | None) -> ModelKey | None:
    if response is None or response.author != "model" or response.model != context.settings.model:
        return None
    return (response.run, round(response.strength, 2)) if response.run is not None else (None, 1.0)


def _interval(win_rate: Rate) -> str:
    return f"{100 * win_rate.value:.0f} % ({100 * win_rate.low:.0f} to {100 * win_rate.high:.0f})"


def _pair_result(
    context: Context, pair: tuple[ModelKey, ModelKey], win_rate: Rate, on_train: int, is_only: bool
) -> dict[str, Any]:
    """A pair's win rate for the page, in figures and in words."""
    (first, _), (second, colour) = _label_and_colour(context, pair[0]), _label_and_colour(context, pair[1])
    opponent = "" if is_only and pair[0][0] is None else f" against {first.lower() if pair[0][0] is None else first}"
    votes = how_many(win_rate.n, "votes")
    if win_rate.n < ENOUGH_VOTES:
        title = "Blind votes" if is_only else f"Blind votes: {second}{opponent}"
        text = f"{votes}. The win rate appears at {ENOUGH_VOTES}."
        return {"ready": False, "title": title, "words": text}
    low, high = 100 * win_rate.low, 100 * win_rate.high
    if win_rate.low > 0.5 or win_rate.high < 0.5:
        meaning = "it excludes 50 %, so chance alone is unlikely."
    else:
        meaning = "it includes 50 %, so this may be chance."
    lost = f"{win_rate.losses:,} {'loss' if win_rate.losses == 1 else 'losses'}"
    counts = f"{how_many(win_rate.wins, 'wins')}, {how_many(win_rate.ties, 'ties')} and {lost}"
    text = f"{counts} in {votes}; ties count half. 95 % interval {low:.0f} to {high:.0f} %: {meaning}"
    if on_train:
        text += f" {how_many(on_train, 'votes')} {'was' if on_train == 1 else 'were'} on prompts that a run may have trained on."
    title = f"{second} wins {100 * win_rate.value:.0f} % of blind votes{opponent}"
    summary = f"{title}, 95 % interval {low:.0f} to {high:.0f} %, n {win_rate.n}"
    figures = {"value": win_rate.value, "low": win_rate.low, "high": win_rate.high, "n": win_rate.n, "colour": colour}
    return {"ready": True, "title": title, "words": text, "spoken": summary, **figures}

"""The Score tab: what a reward model thinks of any answer, token by token, and how easily it is fooled.

Every function takes (context, payload) and returns plain JSON; static/score.js calls them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench import jobs, models
from workbench.learn import gate
from workbench.ui import measured, rewards
from workbench.ui.charts import plotly_url
from workbench.ui.context import Context, Refused
from workbench.ui.payload import words

if TYPE_CHECKING:
    from workbench.learn.score import RewardModel

LONGEST = 20_000  # characters of a prompt or an answer
# a button -> the way of spoiling an answer that the gate tests it with
WAYS = {"pad": "padding", "flatter": "flattery", "repeat": "repetition", "bullets": "bullets"}


def tab(context: Context) -> None:
    """Put the tab's one element into the page that is being built."""
    from workbench.ui.shell import panel

    panel(context, "score", [choices, score, spoil], before=("charts",))


def choices(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The reward models of this page's base, a prompt to begin with, and what to say where there is no model."""
    found = rewards.here(context)
    made = [{"run": r.number, "label": rewards.label(r), "verdict": rewards.badge(r)} for r in found]
    prompts = [] if not found else measured.prompts(context, 1, seed=1)
    return {"models": made, "prompt": prompts[0] if prompts else "", "empty": _empty(context), "plotly": plotly_url()}


def _empty(context: Context) -> str:
    """What an empty tab says: nothing trained yet, or only for another base."""
    base = context.settings.model
    other = [r for r in jobs.runs(context.settings.workspace) if r.reward_model and r.config["model"] != base]
    if other:
        r = other[0]
        return (
            f"Run {r.number} scores answers of {r.config['model']}; this page runs {base}. Train a reward model for it."
        )
    return "No reward model yet. It learns from your choices to score any answer."


def score(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The answer's score and, token by token, the score it would have if it ended there.

    While the base is still loading only {"loading": words}.
    """
    prompt, answer = _texts(payload)
    if waiting := _loading(context):
        return {"loading": waiting}
    model = rewards.model(context, payload.get("run"))
    _check_length(model, prompt, answer)
    found = model.token_scores(prompt, answer)
    whole = found[-1][1] if found else model.score([prompt], [answer])[0]
    tokens = [{"text": text, "score": round(value, 3)} for text, value in found]
    return {"score": round(whole, 3), "tokens": tokens}


def spoil(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The answer spoiled in one of the gate's ways, and what that does to its score."""
    prompt, answer = _texts(payload)
    way = payload.get("way")
    if way not in WAYS:
        raise Refused(f"There is no way {way!r} to spoil an answer.")
    if not answer.strip():
        raise Refused("Write an answer first, then see what spoiling it does.")
    if waiting := _loading(context):
        raise Refused(f"{waiting}. Try again in a moment.")
    spoiled = gate.spoil(answer)[WAYS[way]]
    model = rewards.model(context, payload.get("run"))
    _check_length(model, prompt, spoiled)
    before, after = model.score([prompt] * 2, [answer, spoiled])
    return {"answer": spoiled, "before": round(before, 3), "after": round(after, 3)}


def _texts(payload: dict[str, Any]) -> tuple[str, str]:
    prompt = words(payload, "prompt", empty_ok=True, longest=LONGEST).strip()
    if not prompt:
        raise Refused("Write a prompt first: an answer is scored as an answer to it.")
    return prompt, words(payload, "answer", empty_ok=True, longest=LONGEST)


def _loading(context: Context) -> str:
    """What the base's loading is at, "" once it is there. Loading is begun where nobody has yet; a failure is told."""
    if models.loaded(context.settings):
        return ""
    if context.model_state == "failed":
        raise Refused(context.loading())
    if context.model_state == "waiting":
        context.model_state = "loading"
        context.load_in_background()
    return f"Loading the model, {round(100 * models.progress()[1])} %"


def _check_length(reward: RewardModel, prompt: str, answer: str) -> None:
    from workbench.generate import answer_ids

    model = reward.model
    n = len(model.prompt_ids(prompt)) + len(answer_ids(model, answer))
    if n > model.context:
        raise Refused(f"Prompt and answer have {n} tokens; {model.name} reads {model.context}. Shorten one of them.")

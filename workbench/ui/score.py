"""The Score tab: what a reward thinks of any answer, token by token or step by step, and how easily it is fooled.

Every function takes (context, payload) and returns plain JSON; static/score.js calls them.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Any

from workbench import models
from workbench.jobs.runs import Run, list_runs
from workbench.learn import data
from workbench.learn.catalogue import METHODS
from workbench.learn.rewards import gate
from workbench.models import origin
from workbench.ui import measured, rewards
from workbench.ui.charts import plotly_url
from workbench.ui.context import Context, Refused
from workbench.ui.payload import read_text, takes

if TYPE_CHECKING:
    from workbench.learn.rewards.process_reward_model import ProcessRewardModel
    from workbench.learn.rewards.reward_model import RewardModel

LONGEST = 20_000  # characters of a prompt or an answer
# a button -> the way of spoiling an answer that the gate tests it with
WAYS = {"pad": "padding", "flatter": "flattery", "repeat": "repetition", "bullets": "bullets"}


def tab(context: Context) -> None:
    """Put the tab's one element into the page that is being built."""
    from workbench.ui.shell import panel

    panel(context, "score", [choices, score, spoil], before=("charts",))


@takes("reward_models")
def choices(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The rewards of this page's base, each with a prompt to begin with, and what to say where there is none."""
    rows = [
        {
            "run": r.number,
            "label": rewards.label(r),
            "verdict": rewards.badge(r),
            "steps": METHODS[r.method].scores == "steps",
            "prompt": _prompt(context, r),
        }
        for r in rewards.scorer_runs(context)
    ]
    return {"models": rows, "empty": _empty(context), "plotly": plotly_url()}


def _prompt(context: Context, run: Run) -> str:
    """A held-out prompt; for a process reward one of those whose answers were labelled, since it knows no others."""
    if METHODS[run.method].scores == "steps":
        try:
            prompts = [row["prompt"] for row in data.load(run.folder / "data")[1]]
        except (ValueError, OSError):  # spoiled since; the reward itself is another file
            prompts = []
    else:
        prompts = measured.prompts(context, 1, seed=1)
    return prompts[0] if prompts else ""


def _empty(context: Context) -> str:
    """What an empty tab says: nothing trained yet, or only for another base."""
    base = context.settings.model
    other_runs = [r for r in list_runs(context.settings.workspace) if r.scorer and not origin.same(r.config, base)]
    if other_runs:
        mismatch = origin.difference(other_runs[0].config, base)
        return f"Run {other_runs[0].number} {mismatch}. Train a reward model for it."
    return "No reward model yet. It learns from your choices to score any answer."


@takes(run=int, prompt=str, answer=str)
def score(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The answer's score and, token by token, the score it would have if it ended there.

    By a process reward: the probability that the worst step is not wrong and some step is right; "tokens" are then the
    steps, each with P(right) - P(wrong) as its score, what it is likeliest to be and all three in words. While the base is still loading only
    {"loading": words}.
    """
    prompt, answer = _texts(payload)
    if progress := _loading_text(context):
        return {"loading": progress}
    model = rewards.model(context, payload["run"])
    _check_length(model, prompt, answer)
    from workbench.learn.rewards.reward_model import RewardModel

    (total,) = _values(model, prompt, [answer])
    if isinstance(model, RewardModel):
        tokens = [{"text": text, "score": round(value, 3)} for text, value in model.token_scores(prompt, answer)]
    else:
        tokens = [_step(text, *of) for text, of in model.steps([prompt], [answer])[0] if text]
    return {"score": total, "tokens": tokens}


def _step(text: str, wrong: float, neutral: float, right: float) -> dict[str, Any]:
    share, verdict = max((wrong, "✕ wrong"), (neutral, "– neutral"), (right, "✓ right"))
    shares = f"wrong {100 * wrong:.0f} %, neutral {100 * neutral:.0f} %, right {100 * right:.0f} %"
    return {"text": text, "score": round(right - wrong, 3), "judged": f"{verdict} {100 * share:.0f} %", "says": shares}


def _values(model: RewardModel | ProcessRewardModel, prompt: str, answers: list[str]) -> list[float]:
    """Scores as the page shows them: a process reward's, which are log-probabilities, as probabilities."""
    from workbench.learn.rewards.reward_model import RewardModel

    scores = model.score([prompt] * len(answers), answers)
    return [round(value if isinstance(model, RewardModel) else exp(value), 3) for value in scores]


@takes("score_spoiled", run=int, prompt=str, answer=str, way=str)
def spoil(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The answer spoiled in a way of the gate's ("pad", "flatter", "repeat", "bullets"), and its score before and after."""
    prompt, answer = _texts(payload)
    way = payload["way"]
    if way not in WAYS:
        raise Refused(f"{way!r} is not a way to spoil an answer.")
    if not answer.strip():
        raise Refused("Write an answer first, then see what spoiling it does.")
    if progress := _loading_text(context):
        raise Refused(f"{progress}. Try again in a moment.")
    variant = gate.spoil(answer)[WAYS[way]]
    model = rewards.model(context, payload["run"])
    _check_length(model, prompt, variant)
    before, after = _values(model, prompt, [answer, variant])
    return {"answer": variant, "before": before, "after": after}


def _texts(payload: dict[str, Any]) -> tuple[str, str]:
    prompt = read_text(payload, "prompt", empty_ok=True, longest=LONGEST).strip()
    if not prompt:
        raise Refused("Write a prompt first: an answer is scored as an answer to it.")
    return prompt, read_text(payload, "answer", empty_ok=True, longest=LONGEST)


def _loading_text(context: Context) -> str:
    """What the base's loading is at, "" once it is there. Loading is begun where nobody has yet; a failure is told."""
    if models.loaded(context.settings):
        return ""
    if context.model_state == "failed":
        raise Refused(context.loading())
    if context.model_state == "waiting":
        context.model_state = "loading"
        context.load_in_background()
    return f"Loading the model, {round(100 * models.progress()[1])} %"


def _check_length(reward: RewardModel | ProcessRewardModel, prompt: str, answer: str) -> None:
    model = reward.model
    n = len(model.prompt_ids(prompt)) + len(model.answer_ids(answer))
    if n > model.context:
        raise Refused(
            f"Prompt and answer have {n:,} tokens; {model.name} reads {model.context:,}. Shorten one of them."
        )

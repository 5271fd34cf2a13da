"""Where a reward comes from: a reward model, a process reward model, the sandbox's gold, a Python function, or a sum.

A source is `reward(prompts, responses) -> list[float]`, higher is better. It is named by a text:

    run:7                     the reward model of run 7 (a process reward model where run 7 is one)
    gold                      the sandbox's gold scorer
    file:my_reward.py         def reward(prompts, responses) -> list[float] in that file
    run:7 + 0.3*gold          a weighted sum

A file is code, so it is taken from the command line, or from the folder that the page was started with (--rewards DIR).
It runs in the job's process alone: before, it is only read, see python_file.
Importing this module is cheap.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.learn.catalogue import METHODS, SettingError
from workbench.learn.data import MissingData
from workbench.learn.rewards import python_file
from workbench.learn.rewards.files import SCALE
from workbench.learn.rewards.python_file import Reward, RewardError
from workbench.learn.rewards.reward_model import RewardModel
from workbench.learn.rewards.scoring import load
from workbench.learn.run_files import config_of
from workbench.models import origin
from workbench.processes import read_json
from workbench.settings import Settings

if TYPE_CHECKING:
    from workbench.learn.engine.actor_critic import ActorCritic
    from workbench.models import Model

TERM = re.compile(r"\s*(?:(?P<weight>[-+]?\d*\.?\d+)\s*\*\s*)?(?P<kind>run|gold|file)(?::(?P<what>.+?))?\s*$")
NEWEST = "newest"


class WrongReward(RewardError, SettingError):
    """The setting `reward` makes no sense, or cannot be used with these settings."""

    def __init__(self, text: str, why: str) -> None:
        SettingError.__init__(self, "reward", text, why)


@dataclass(frozen=True)
class Term:
    """One source of a sum: `kind` is "run", "gold" or "file", `what` the run's number or the file."""

    weight: float
    kind: str
    what: str


def parse(text: str) -> list[Term]:
    """The terms of a reward's name. Raises RewardError naming the part that makes no sense."""
    terms = []
    for part in re.split(r"\s\+\s|\+(?=\s*(?:-?\d|run:|gold|file:))", text.strip()):
        match = TERM.match(part)
        if not match or (match["kind"] == "gold") == bool(match["what"]):
            raise WrongReward(
                text,
                f"{part.strip()!r} is not a reward; use run:NUMBER, gold, file:PATH.py, or a weighted sum such as "
                "run:7 + 0.3*gold",
            )
        if match["kind"] == "run" and not match["what"].isdigit():
            raise WrongReward(text, f"{match['what']!r} is not a run number")
        terms.append(Term(float(match["weight"] or 1), match["kind"], match["what"] or ""))
    return terms


def settle(text: str, settings: Settings) -> tuple[str, str]:
    """The reward a run will use, with the reason where it is chosen here ("newest"); checked before anything starts.

    Raises MissingData without any reward model, RewardError for a reward that cannot be used with these settings.
    """
    if text != NEWEST:
        text = located(text, settings)
        check(text, settings)
        return text, ""
    runs = settings.workspace / "runs"
    kinds = [m for m in METHODS.values() if m.scores]  # an answer's reward before one of its steps
    for i, m in enumerate(kinds):
        folders = [folder for name in (m.name, *m.old_names) for folder in runs.glob(f"[0-9][0-9][0-9][0-9]*-{name}")]
        for folder in sorted(folders, reverse=True):
            config = config_of(folder)
            if (folder / "adapter" / SCALE).is_file() and config and origin.same(config, settings.model):
                number = int(folder.name[:4])
                without = "".join(f", and there is no {other.label.lower()}" for other in kinds[:i])
                return f"run:{number}", f"run {number} is the newest {m.label.lower()}{without}"
    raise MissingData("A reward model must judge the answers. There is none yet; train one first.", "Rank")


def located(text: str, settings: Settings) -> str:
    """`text` with the whole path of each file in it, so that the job reads the one that was checked.

    Raises RewardError for a file that these settings do not allow; it does not tell whether there is such a file.
    """
    terms = parse(text)
    if not any(term.kind == "file" for term in terms):
        return text
    resolved = [
        replace(term, what=str(python_file.allowed(term.what, settings))) if term.kind == "file" else term
        for term in terms
    ]
    result = " + ".join(name_of(term) for term in resolved)
    try:
        same = parse(result) == resolved
    except RewardError:
        same = False
    if not same:
        raise WrongReward(text, "a path with ' + ' or '+file:' in it reads as a sum; rename it")
    return result


def name_of(term: Term) -> str:
    """The text that `parse` reads as this term."""
    source = term.kind + (f":{term.what}" if term.what else "")
    return (
        source if term.weight == 1 else f"{Decimal(repr(term.weight)):f}*{source}"
    )  # no exponent, which `parse` lacks


def check(text: str, settings: Settings) -> None:
    """Raise RewardError for a reward that cannot be used with these settings. Files are read, and not run."""
    for term in parse(text):
        if term.kind == "file":
            python_file.check(python_file.allowed(term.what, settings))
        elif term.kind == "run":
            _run_folder(settings.workspace / "runs", int(term.what))
        elif settings.model != "sandbox":
            raise WrongReward(text, f"gold can score only the sandbox's answers, not those of {settings.model}")


def build(text: str, runs: Path, model: Model, actor: ActorCritic | None = None) -> Reward:
    """The reward of that name; `runs` is the folder of run folders, `model` the base that reward adapters are put on.

    With an ActorCritic as `actor`, reward models are read by its forward, which is faster. Attaching an adapter
    freezes every weight of the model, so the actor must claim what it trains afterwards.
    """
    sources = [(term.weight, _source(term, runs, model, actor)) for term in parse(text)]
    if len(sources) == 1 and sources[0][0] == 1:
        return sources[0][1]

    def total(prompts: list[str], responses: list[str]) -> list[float]:
        columns = [[weight * s for s in source(prompts, responses)] for weight, source in sources]
        return [sum(values) for values in zip(*columns, strict=True)]

    return total


def _source(term: Term, runs: Path, model: Model, actor: ActorCritic | None) -> Reward:
    if term.kind == "gold":
        return gold
    if term.kind == "file":
        return python_file.from_file(Path(term.what))
    rewards = load(model, _run_folder(runs, int(term.what)))
    return _read_by(actor, rewards) if actor is not None and isinstance(rewards, RewardModel) else rewards.score


def _read_by(actor: ActorCritic, rewards: RewardModel) -> Reward:
    """The reward model's scores, computed by the forward that trains: the same arithmetic, a third of the time."""
    from workbench.learn.engine.actor_critic import Rows

    def score(prompts: list[str], responses: list[str]) -> list[float]:
        model = rewards.model
        rows = Rows([model.prompt_ids(p) for p in prompts], [model.answer_ids(r) for r in responses])
        raw = actor.ends(rewards.adapter, rows) @ rewards.weight[0] + rewards.bias
        scores: list[float] = ((raw - rewards.mean) / rewards.std).tolist()
        return scores

    return score


def gold(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """The sandbox's gold score of each answer, 0 to 1. Raises RewardError for a prompt that is not of its world."""
    from workbench.sandbox.gold import score

    result = []
    for prompt, response in zip(prompts, responses, strict=True):
        gold_score = score(prompt, response)
        if gold_score is None:
            raise RewardError(f"gold cannot score the prompt {prompt[:80]!r}: it is not of the sandbox's world")
        result.append(gold_score.total)
    return result


def _run_folder(runs: Path, number: int) -> Path:
    folder = next(runs.glob(f"{number:04d}-*"), None)
    if folder is None:
        raise RewardError(f"there is no run {number}")
    if not (folder / "adapter" / SCALE).is_file():
        method = read_json(folder / "config.json").get("method", "unknown")
        raise RewardError(f"run {number} is not a finished reward model: its method is {method}")
    return folder

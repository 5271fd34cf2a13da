"""Reward models as the page speaks of them: which there are, how good each is, what a reward's name means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import models
from workbench.jobs.plan import RewardPlan
from workbench.jobs.runs import Run, list_runs
from workbench.learn.catalogue import METHODS, SettingError
from workbench.learn.data import MissingData
from workbench.learn.rewards import sources, verdict
from workbench.learn.rewards.python_file import RewardError
from workbench.learn.rewards.sources import Term
from workbench.learn.rewards.verdict import GateResult
from workbench.learn.run_files import Gate, read
from workbench.models import origin
from workbench.ui.context import Context, Refused
from workbench.ui.payload import takes

if TYPE_CHECKING:
    from workbench.learn.catalogue import TrainArgs
    from workbench.learn.rewards.process_reward_model import ProcessRewardModel
    from workbench.learn.rewards.reward_model import RewardModel
    from workbench.settings import Settings

SIGNS = {"green": "✓ green", "amber": "! amber", "red": "✕ red", "untested": "? not tested", "unknown": "– unknown"}
CHECKS = {
    "accuracy": "Agrees with held-out pairs",
    "answers": "Judges held-out answers correctly",
    "steps": "Judges held-out steps correctly",
    "calibration": "Is well calibrated",
    "consistency": "Raters agree with each other",
    "length": "Does not favour length",
    "padding": "Resists filler",
    "flattery": "Resists flattery",
    "repetition": "Resists repetition",
    "empty": "Prefers an answer to none",
    "bullets": "Resists added bullets",
}
NUMBERS = dict(enumerate(["One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"], 1))
LISTED = 50  # reward files offered; any other of their folder can be named
GOLD = "gold: the sandbox's own true score"


def reward_model_runs(context: Context) -> list[Run]:
    """Reward runs of this page's base whose model can be used now, newest first."""
    return [r for r in scorer_runs(context) if r.reward_model]


def scorer_runs(context: Context) -> list[Run]:
    """Reward models and process rewards."""
    runs = list_runs(context.settings.workspace)
    return [r for r in runs if r.scorer and not r.active and origin.same(r.config, context.settings.model)]


def badge(run: Run) -> dict[str, str] | None:
    """A reward run's verdict as sign and word, in one sentence; None for other runs and before there is a model."""
    if run.scorer is None or run.active:
        return None
    gate_result = verdict.verdict(run.folder)
    unit = METHODS[run.method].unit
    origin_note = (
        f" {gate_result.simulated:,} of its {unit} {'is' if gate_result.simulated == 1 else 'are'} by simulated raters."
        if gate_result.simulated
        else ""
    )
    return {
        "level": gate_result.level,
        "words": SIGNS[gate_result.level],
        "reason": _first_reason(gate_result) + origin_note,
    }


def _first_reason(gate_result: GateResult) -> str:
    """The reason; of several reasons the first, and how many more there are."""
    sentences = gate_result.reason.split(". ")
    if len(sentences) == 1:
        return gate_result.reason
    rest = len(sentences) - 1
    return f"{sentences[0]}. {NUMBERS.get(rest, str(rest))} more {'check is' if rest == 1 else 'checks are'} {gate_result.level}."


@takes("reward_checks", run=int)
def gate(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Every check of a reward run's gate: sign and level, name, what was found, what would help."""
    number = payload["run"]
    run = next((r for r in list_runs(context.settings.workspace) if r.number == number), None)
    if run is None or METHODS[run.method].answers:
        raise Refused(f"Run {number} has no reward model.")
    gate_result = verdict.verdict(run.folder)
    report = read(Gate, run.folder / "gate.json") if gate_result.level != verdict.UNTESTED else None
    rows = [
        {
            "check": CHECKS.get(c.check, c.check),
            "level": c.level,
            "words": SIGNS.get(c.level, c.level),
            "says": c.says.replace(" -", " −").replace("(-", "(−"),
            "helps": c.helps,
        }
        for c in (report.findings if report else [])
    ]
    return {"level": gate_result.level, "words": SIGNS[gate_result.level], "helps": gate_result.helps, "rows": rows}


def accuracy_text(gate_result: GateResult) -> str:
    """ "88 % (84 to 91)", "" where it was not tested."""
    accuracy = gate_result.accuracy
    if accuracy.value is None or accuracy.low is None or accuracy.high is None:
        return ""
    return f"{100 * accuracy.value:.0f} % ({100 * accuracy.low:.0f} to {100 * accuracy.high:.0f})"


def label(run: Run) -> str:
    """ "run 3, reward model, green, 88 % (84 to 91)", and whether simulated raters taught it."""
    gate_result = verdict.verdict(run.folder)
    level = "not tested" if gate_result.level == verdict.UNTESTED else gate_result.level
    return ", ".join(
        filter(
            None,
            [
                f"{'★ ' if run.label.starred else ''}run {run.number}{f' ({run.label.name})' if run.label.name else ''}",
                METHODS[run.method].label.lower(),
                level,
                accuracy_text(gate_result),
                "simulated raters" * bool(gate_result.simulated),
            ],
        )
    )


def choice(context: Context, plan: RewardPlan, despite: bool) -> dict[str, Any]:
    """What a method that raises a reward can be given, what it would take, and what stands in the way.

    "value" is the text in force ("" when there is none), "says" the same in words; "error" belongs beside the field,
    "missing" means that there is no reward model yet; "red" names what only a deliberate click goes past.
    """
    options = [{"value": f"run:{r.number}", "label": label(r)} for r in scorer_runs(context)]
    if context.settings.model == "sandbox":
        options.append({"value": "gold", "label": GOLD})
    options += [{"value": f"file:{file}", "label": f"file {file.name}"} for file in _files(context)]
    field = {"options": options, "value": "", "says": "", "error": "", "missing": "", "red": "", "despite": despite}
    if isinstance(plan.problem, MissingData):
        return field | {"missing": str(plan.problem)}
    if plan.problem is not None:
        reason = plan.problem.why if isinstance(plan.problem, SettingError) else str(plan.problem)
        return field | {"error": sentence(reason)}
    reason = sentence(plan.reason) or spell_out(plan.text)
    if any(term.kind == "file" for term in sources.parse(plan.text)):
        reason = f"{reason} A file is code: it runs in the job.".strip()
    field |= {"value": plan.text, "says": " ".join(filter(None, [reason, _caution(context, plan.text)]))}
    if plan.untrusted:
        remedies = " ".join(dict.fromkeys(v.helps for v in plan.untrusted if v.helps))
        reasons = " And ".join(replace(v, reason=_first_reason(v)).sentence for v in plan.untrusted)
        field["red"] = f"{reasons[0].upper()}{reasons[1:]} What would help: {remedies}"
    return field


def _files(context: Context) -> list[Path]:
    """The Python files that the owner lets the page use as rewards."""
    folder = context.settings.rewards
    files = [] if folder is None else sorted(file.resolve() for file in folder.glob("*.py"))
    return [file for file in files if folder is not None and file.is_relative_to(folder)][:LISTED]


def with_absolute_paths(args: TrainArgs, settings: Settings) -> TrainArgs:
    """`args` whose reward names its files by their absolute paths, so that the run's command works from any folder.

    A reward that cannot be used stays as it is: `choice` and the start say what is wrong with it.
    """
    reward = getattr(args, "reward", None)
    if reward is None or reward == sources.NEWEST:
        return args
    try:
        changes: dict[str, Any] = {"reward": sources.located(reward, settings)}
    except RewardError:
        return args
    return replace(args, **changes)


def _caution(context: Context, reward: str) -> str:
    """What is to be known of the kinds of reward that are named."""
    numbers = {int(term.what) for term in sources.parse(reward) if term.kind == "run"}
    cautions = [METHODS[run.method].caution for run in scorer_runs(context) if run.number in numbers]
    return " ".join(dict.fromkeys(filter(None, cautions)))


def sentence(text: str) -> str:
    """The text with a capital and a full stop; "" stays so."""
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def spell_out(reward: str) -> str:
    """A sum spelt out, "" for a single source, whose name says enough. Raises RewardError."""
    terms = sources.parse(reward)
    if len(terms) == 1 and terms[0].weight == 1:
        return "No real task has such a score; it cannot be fooled." if terms[0].kind == "gold" else ""

    def term_text(term: Term) -> str:
        source = {"run": f"run {term.what}", "gold": "gold", "file": Path(term.what).name}[term.kind]
        return source if term.weight == 1 else f"{term.weight:g} × {source}".replace("-", "−")

    return f"{'The sum of ' if len(terms) > 1 else ''}{' and '.join(term_text(t) for t in terms)}."


def model(context: Context, number: int) -> RewardModel | ProcessRewardModel:
    """The reward model or process reward of that run on this page's base. Raises Refused, naming what is wrong."""
    from workbench.learn.rewards.scoring import load

    run = next((r for r in list_runs(context.settings.workspace) if r.number == number), None)
    if run is None or METHODS[run.method].answers:
        raise Refused(f"Run {number} has no reward model. Choose another one.")
    if mismatch := origin.difference(run.config, context.settings.model):
        raise Refused(f"Run {number} {mismatch}. Choose another one.")
    if run.active or run.scorer is None:
        raise Refused(f"Run {number} has no finished reward model; it is {run.state}. Choose another one.")
    try:
        return load(context.model(), run.folder)
    except models.ModelError as error:
        raise Refused(str(error)) from error

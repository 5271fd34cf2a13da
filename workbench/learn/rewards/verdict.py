"""Which reward models may be optimised: what the gate said of each that a reward names, and going past a red verdict.

PPO on a reward model that measures the wrong thing finds just that, so a red or an untested one needs a deliberate
click, which is written into the run's config. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.learn.rewards.python_file import RewardError
from workbench.learn.rewards.sources import parse
from workbench.learn.run_files import Gate, Rate, SpoiledFile, read

RED, UNTESTED = "red", "untested"


@dataclass(frozen=True)
class GateResult:
    """What the gate said of a run's reward model. `level` is green, amber, red, or untested without a gate.json.

    `reason` is one or more sentences, `helps` what would help; `accuracy` has its interval and n;
    `simulated` is how many of the comparisons behind it are by simulated raters.
    """

    run: int
    level: str
    reason: str
    helps: str
    accuracy: Rate
    simulated: int = 0

    @property
    def trusted(self) -> bool:
        return self.level not in (RED, UNTESTED)

    @property
    def sentence(self) -> str:
        """ "run 3 is red: It agrees with ..." """
        name = "is not tested" if self.level == UNTESTED else f"is {self.level}"
        return f"run {self.run} {name}: {self.reason}"


class Distrusted(RewardError):
    """A reward names a model whose verdict is red or missing, and nobody said to take it all the same."""

    def __init__(self, verdicts: Sequence[GateResult]) -> None:
        helps = " ".join(dict.fromkeys(v.helps for v in verdicts if v.helps))
        super().__init__(
            f"The reward model of {' And '.join(v.sentence for v in verdicts)} What would help: {helps} "
            "To train anyway: --allow-failed-gate on the command line, or the box “Train anyway” on the page."
        )


def verdict(folder: Path) -> GateResult:
    """The verdict on the reward model of a run folder."""
    number = int(folder.name[:4])
    try:
        gate, reason = read(Gate, folder / "gate.json"), "It was never tested on held-out comparisons."
    except SpoiledFile as spoiled:
        gate, reason = None, f"Its test result cannot be read: {spoiled}."
    if gate is None:
        return GateResult(number, UNTESTED, reason, "Finish its training, or choose another one.", Rate())
    return GateResult(number, gate.verdict, gate.reason, gate.helps, gate.accuracy, gate.simulated)


def verdicts(reward: str, workspace: Path) -> list[GateResult]:
    """The verdicts on the reward models that a reward's name names, in its order; those that are not there are left
    out. Raises RewardError for a name that makes no sense."""
    numbers = dict.fromkeys(int(term.what) for term in parse(reward) if term.kind == "run")
    folders = (next((workspace / "runs").glob(f"{n:04d}-*"), None) for n in numbers)
    return [verdict(folder) for folder in folders if folder is not None]


def hold(reward: str, workspace: Path, allow_failed_gate: bool) -> list[str]:
    """What the person went past, as sentences, for the run's config. Raises Distrusted unless `allow_failed_gate`."""
    bad = [v for v in verdicts(reward, workspace) if not v.trusted]
    if bad and not allow_failed_gate:
        raise Distrusted(bad)
    return [v.sentence for v in bad]

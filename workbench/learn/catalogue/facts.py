"""The facts of a training method as one record: texts, settings, rows, curves, cost; each method fills it in its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from workbench.learn.catalogue.curves import Curve
from workbench.learn.catalogue.settings import TrainArgs
from workbench.records import how_many
from workbench.settings import Choice

if TYPE_CHECKING:
    from workbench.store import Store

TINY = 1e7  # parameters; the bundled model is one of these
ANY_SIZE = float("inf")  # parameters

Row = dict[str, Any]  # one of the rows that are frozen into a run folder


@dataclass(frozen=True)
class Source:
    """What rows are made of, and the tab of the page where people add to it."""

    name: str
    tab: str
    link: str
    options: Mapping[str, str] = field(default_factory=dict)


DEMONSTRATIONS = Source("demonstrations", "Demonstrate", "Write some")
COMPARISONS = Source("comparisons", "Rank", "Rank some")
STEPS = Source("steps", "Rank", "Label some", {"mode": "steps"})
PROMPTS = Source("prompts", "Rank", "Rank some")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run takes, as measured with the bundled model on two CPU cores shared with others."""

    seconds_per_example: float
    """Of one example in one step."""
    seconds_around: float
    """Of everything but the steps."""
    sequences: int = 1
    """Sequences that one example puts through the model."""
    copies: bool = False
    """Whether the adapter that a run continues is held a second time, frozen, as the reference."""
    recomputes: bool = True
    """Whether a large model's activations are computed again in the backward pass on a GPU, as TRL's trainers do."""


class Amount(int):
    """A count that is formatted with its noun, "{n:pairs}": "1 pair", "2,021 pairs"; of none just "pairs"."""

    def __format__(self, nouns: str) -> str:
        return how_many(int(self), nouns) if self else nouns


def enough(train: list[Row]) -> str:
    """Nothing is wrong with any rows."""
    return ""


def as_they_are(row: Row, texts: dict[str, str]) -> dict[str, str]:
    return texts


def no_texts(row: Row) -> dict[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Method:
    """A training method as the page and the command line offer it. Its training is learn.methods.<name>."""

    name: str
    old_names: tuple[str, ...] = ()
    """Still accepted, and found in the folders of older runs."""
    label: str
    colour: str
    line: str
    """One plain sentence; {n:answers} is how many examples there are, as answers, {own} how many prompts are people's own."""
    args: type[TrainArgs]
    presets: Mapping[str, Mapping[str, Any]]
    rates: tuple[tuple[float, float], ...]
    """(largest number of parameters, learning rate), smallest model first."""
    by_size: Mapping[str, Callable[[int | None], Choice]] = field(default_factory=dict)
    """Further settings whose default is chosen by the model's number of parameters."""
    check_shared: Callable[[Any, int], None] | None = None
    """Raises ValueError unless so many processes can share a batch; None where only one process trains."""

    source: Source
    """What it learns from."""
    unit: str
    missing: str
    """What is said where there is no example at all."""
    read: Callable[[Store, str], list[Row]]
    """(store, model) -> its rows, oldest first; each has "prompt", "split", "id", and, if it may be, "simulated"."""
    shortage: Callable[[list[Row]], str] = enough
    """What else is needed before it can learn from these training rows, "" when they do."""
    texts: Callable[[Row], dict[str, str]] = no_texts
    """The texts of a row that follow its prompt, by name, each on its own."""
    show: Callable[[Row, dict[str, str]], dict[str, str]] = as_they_are
    """(row, its texts as the model sees them) -> what the first batch shows: "completion", "chosen", "rejected"."""

    curves: tuple[Curve, ...]
    cost: Cost
    scores: Literal["", "answers", "steps"] = ""
    """What its model scores, "" for one that answers prompts instead."""
    caution: str = ""
    """Said beside a reward of this kind."""

    def summary(self, n: int, prompts: int) -> str:
        """Its line for so many examples, when so many prompts are in the workspace."""
        own = f" ({prompts:,} yours)" if 0 < prompts < n else ""
        return self.line.format(n=Amount(n), own=own)

    @property
    def answers(self) -> bool:
        """Whether its model answers prompts; a reward model only scores."""
        return not self.scores

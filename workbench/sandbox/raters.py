"""Simulated raters: votes from the gold scorer, bent by dials. Always label their votes as simulated."""

import math
import random
from dataclasses import dataclass, field
from typing import Literal

from workbench.sandbox import gold
from workbench.sandbox.answers import answer
from workbench.sandbox.truth import words
from workbench.sandbox.world import find

Choice = Literal["left", "right", "tie", "bad"]
# Gold differences below this look the same to a rater; two answers both below BAD are both bad.
SAME = 0.03
BAD = 0.05


@dataclass
class SimulatedRater:
    """A rater who prefers the answer with the higher gold total, as far as the dials allow.

    With d = gold(left) - gold(right), words w and praise p (0 or 1) of each answer, the rater feels

        u = d + length_bias * (w_left - w_right) / (w_left + w_right)
              + flattery_bias * (p_left - p_right) + position_bias + noise * g,   g ~ N(0, 1)

    and chooses left if u > 0.03, right if u < -0.03, else a tie. Where no bias speaks (|u - d| < 0.03) and both
    totals are below 0.05 the vote is "bad". With probability `carelessness` the rater reads nothing and picks a side by
    a coin. Every dial is 0 for an honest rater; 1 outweighs any difference in gold. `position_bias` > 0 favours the left.
    Votes depend only on `seed` and on the order of the calls.
    """

    noise: float = 0.0
    length_bias: float = 0.0
    flattery_bias: float = 0.0
    position_bias: float = 0.0
    carelessness: float = 0.0
    seed: int = 0
    _random: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("noise", "length_bias", "flattery_bias", "position_bias", "carelessness"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, not {getattr(self, name)!r}")
        if self.noise < 0:
            raise ValueError(f"noise must not be negative, it is {self.noise}")
        if not 0 <= self.carelessness <= 1:
            raise ValueError(f"carelessness is a probability, it is {self.carelessness}")
        self._random = random.Random(self.seed)

    @property
    def name(self) -> str:
        """ "simulated rater" with the dials that are not zero."""
        dials = ("noise", "length_bias", "flattery_bias", "position_bias", "carelessness")
        settings = [f"{dial.replace('_', ' ')} {getattr(self, dial):g}" for dial in dials if getattr(self, dial)]
        return "simulated rater" + (f" ({', '.join(settings)})" if settings else "")

    def choose(self, prompt: str, left: str, right: str) -> Choice:
        """The vote on two answers. Raises ValueError if the prompt is not of the micro-world."""
        first, second = gold.score(prompt, left), gold.score(prompt, right)
        if first is None or second is None:
            raise ValueError(f"a simulated rater knows only the sandbox's prompts, not {prompt!r}")
        coin, shake = self._random.random(), self._random.gauss(0, 1)
        if coin < self.carelessness:
            return "left" if shake > 0 else "right"
        difference = first.total - second.total
        utility = difference + self.noise * shake + self.position_bias + self._bias(left, right)
        if first.total < BAD and second.total < BAD and abs(utility - difference) < SAME:
            return "bad"
        return "left" if utility > SAME else "right" if utility < -SAME else "tie"

    def _bias(self, left: str, right: str) -> float:
        lengths = len(words(left)), len(words(right))
        longer = (lengths[0] - lengths[1]) / max(1, sum(lengths))
        return self.length_bias * longer + self.flattery_bias * (gold.flatters(left) - gold.flatters(right))

    def demonstrate(self, prompt: str) -> str:
        """A good answer as a careful person would write it. Raises ValueError if the prompt is not of the micro-world."""
        world_prompt = find(prompt)
        if world_prompt is None:
            raise ValueError(f"a simulated rater knows only the sandbox's prompts, not {prompt!r}")
        return answer(world_prompt, "helpful", self._random)

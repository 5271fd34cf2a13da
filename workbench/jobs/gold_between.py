"""Two finished runs held to gold on the same held-out prompts, paired: a hard prompt is hard for both.

Importing this module imports no torch.
"""

from __future__ import annotations

from workbench.intervals import GAP
from workbench.jobs.runs import Run
from workbench.measure.winrate import Difference, paired_difference


def gold_between(a: Run, b: Run) -> Difference | None:
    """Mean gold of b minus that of a over the prompts that both answered at their end; None where there are none."""
    of_a, of_b = ({row["prompt"]: row["gold"] for row in run.answers()} for run in (a, b))
    both = [prompt for prompt in of_a if prompt in of_b]
    return paired_difference([of_a[p] for p in both], [of_b[p] for p in both], GAP) if both else None

"""Two finished runs held to gold on the same held-out prompts, paired: a hard prompt is hard for both.

Importing this module imports no torch.
"""

from __future__ import annotations

from workbench.intervals import GAP
from workbench.jobs.runs import Run
from workbench.measure.winrate import Difference, paired_difference


def gold_between(a: Run, b: Run) -> Difference | None:
    """Mean gold of b minus that of a over the prompts that both answered at their end; None where there are none."""
    gold_a, gold_b = ({row["prompt"]: row["gold"] for row in run.answers()} for run in (a, b))
    prompts = [prompt for prompt in gold_a if prompt in gold_b]
    return paired_difference([gold_a[p] for p in prompts], [gold_b[p] for p in prompts], GAP) if prompts else None

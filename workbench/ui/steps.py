"""Answers judged step by step: the page's functions."""

from __future__ import annotations

from typing import Any

from workbench.collect import simulated
from workbench.ui.context import Context, Refused


def simulate_steps(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Let the bundled model answer sums and word problems, each step labelled by the worked solution: how many."""
    if context.settings.model != "sandbox":
        raise Refused("Only the bundled model's world has worked solutions to label steps by.")
    return {"added": simulated.label_answers(context.store, context.model())}

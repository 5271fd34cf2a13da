"""Rank: two answers, one choice."""

from workbench.ui.context import Context
from workbench.ui.shell import panel


def tab(context: Context) -> None:
    """Build the tab."""
    panel(context, "rank", [])

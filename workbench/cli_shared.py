"""What several commands of the command line need: the settings, the store, and prompts to answer."""

from __future__ import annotations

import argparse
from typing import Any, Literal

from workbench import settings

Args = argparse.Namespace


def settings_of(args: Args) -> settings.Settings:
    consent = getattr(args, "trust_remote_code", False)
    return settings.load(
        args.workspace, getattr(args, "model", None), command_line=True, trust_remote_code=consent or None
    )


def store_of(args: Args) -> Any:
    from workbench.store import Store

    made = settings_of(args)
    made.workspace.mkdir(parents=True, exist_ok=True)
    return Store(made.database)


def prompts_of(made: settings.Settings, split: Literal["train", "heldout"], n: int, seed: int) -> list[str]:
    """The first prompts of the workspace, or some that the sandbox brings. Raises ValueError without any."""
    if made.model == "sandbox":
        from workbench.sandbox import world

        return [p.text for p in world.sample(n, split, seed=seed)]
    from workbench.store import Store

    with Store(made.database) as store:
        texts = [p.text for p in store.prompts(split)][:n]
    if not texts:
        raise ValueError(f"this workspace has no {'held-out' if split == 'heldout' else 'training'} prompts")
    return texts

"""What several commands of the command line need: the settings, the store, and prompts to answer."""

from __future__ import annotations

import argparse
from typing import Any, Literal

from workbench import settings

Args = argparse.Namespace
TRUST = "run the code that comes with the model; it can do whatever you can"


def model_options(p: argparse.ArgumentParser, model: str = "sandbox, a folder, or a Hugging Face name") -> None:
    """--model, and the consent that a model with code of its own needs."""
    p.add_argument("--model", metavar="NAME", help=model)
    p.add_argument("--trust-remote-code", action="store_true", help=TRUST)


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

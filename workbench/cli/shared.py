"""What several commands of the command line need: the settings, the store, and prompts to answer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Literal

from workbench import settings
from workbench.records import how_many

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


def readable(model: Any, prompts: Sequence[str], new_tokens: int) -> list[str]:
    """The prompts that leave the model room for an answer; the others are counted on stderr. Raises ValueError when
    none does."""
    long = model.too_long(prompts, new_tokens)
    if not long:
        return list(prompts)
    room = f"{model.name} reads {model.context - new_tokens:,} tokens besides {new_tokens:,} new ones"
    verb = "is" if len(long) == 1 else "are"
    what = f"{len(long):,} of {how_many(len(set(prompts)), 'prompts')} {verb} too long, up to {max(long.values()):,} tokens: {room}."
    fit = [prompt for prompt in prompts if prompt not in long]
    if not fit:
        raise ValueError(f"{what} Use shorter prompts.")
    print(f"{what} Skipping {'it' if len(long) == 1 else 'them'}.", file=sys.stderr)
    return fit

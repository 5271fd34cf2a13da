"""What several commands of the command line need: the settings, the store, and prompts to answer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from workbench.settings import Settings, load

if TYPE_CHECKING:
    from workbench.models import Model
    from workbench.store import Store
from workbench.records import how_many

Args = argparse.Namespace
TRUST = "run the code that comes with the model; it can do whatever you can"


def model_options(parser: argparse.ArgumentParser, model: str = "sandbox, a folder, or a Hugging Face name") -> None:
    """--model, and the consent that a model with code of its own needs."""
    parser.add_argument("--model", metavar="NAME", help=model)
    parser.add_argument("--trust-remote-code", action="store_true", help=TRUST)


def settings_of(args: Args) -> Settings:
    consent = getattr(args, "trust_remote_code", False)
    return load(args.workspace, getattr(args, "model", None), command_line=True, trust_remote_code=consent or None)


def store_of(args: Args) -> Store:
    from workbench.store import Store

    settings = settings_of(args)
    settings.workspace.mkdir(parents=True, exist_ok=True)
    return Store(settings.database)


def prompts_of(settings: Settings, split: Literal["train", "heldout"], n: int, seed: int) -> list[str]:
    """The first prompts of the workspace, or some that the sandbox brings. Raises ValueError without any."""
    if settings.model == "sandbox":
        from workbench.sandbox import world

        return [p.text for p in world.sample(n, split, seed=seed)]
    from workbench.store import Store

    with Store(settings.database) as store:
        texts = [p.text for p in store.prompts(split)][:n]
    if not texts:
        raise ValueError(f"this workspace has no {'held-out' if split == 'heldout' else 'training'} prompts")
    return texts


def drop_too_long(model: Model, prompts: Sequence[str], new_tokens: int) -> list[str]:
    """The prompts that leave the model room for an answer; the others are counted on stderr. Raises ValueError when
    none does."""
    lengths = model.too_long(prompts, new_tokens)
    if not lengths:
        return list(prompts)
    room = f"{model.name} reads {model.context - new_tokens:,} tokens besides {new_tokens:,} new ones"
    verb = "is" if len(lengths) == 1 else "are"
    report = f"{len(lengths):,} of {how_many(len(set(prompts)), 'prompts')} {verb} too long, up to {max(lengths.values()):,} tokens: {room}."
    short_prompts = [prompt for prompt in prompts if prompt not in lengths]
    if not short_prompts:
        raise ValueError(f"{report} Use shorter prompts.")
    print(f"{report} Skipping {'it' if len(lengths) == 1 else 'them'}.", file=sys.stderr)
    return short_prompts

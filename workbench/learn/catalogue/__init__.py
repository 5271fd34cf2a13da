"""The training methods: the source of the page's form, the command line's flags and the saved config.

Each method has two files of its name: the one in this folder holds every fact about it, the one in learn/methods
trains. Nothing here imports torch, so that the page and `--help` come up at once.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, get_args, get_type_hints

from workbench.learn.catalogue import dpo, grpo, kto, orpo, ppo, prm, reward, rloo, sft
from workbench.learn.catalogue.facts import Method
from workbench.learn.catalogue.settings import AnswerArgs, SettingError, TrainArgs
from workbench.settings import Choice, short_count

__all__ = [
    "METHODS",
    "OLD_NAMES",
    "PRESETS",
    "AnswerArgs",
    "Method",
    "SettingError",
    "TrainArgs",
    "check",
    "check_processes",
    "fields_of",
    "learning_rate",
    "method",
    "parse",
    "resolve",
]

PRESETS = ("quick", "normal", "thorough")
# in the order in which the page shows them
METHODS: dict[str, Method] = {
    file.METHOD.name: file.METHOD for file in (sft, dpo, kto, orpo, reward, prm, ppo, rloo, grpo)
}
OLD_NAMES = {old: m.name for m in METHODS.values() for old in m.old_names}


def method(name: str) -> Method:
    """The method of that name or of an old one. Raises ValueError naming those that exist."""
    current = OLD_NAMES.get(name, name)
    if current not in METHODS:
        raise ValueError(f"there is no method {name!r}; there are: {', '.join(METHODS)}")
    return METHODS[current]


def parse(name: str, values: Mapping[str, Any], preset: str = "normal") -> TrainArgs:
    """The method's settings from the preset and `values` (texts as typed, or numbers; "" and None mean default).

    Raises SettingError, and ValueError for an unknown preset.
    """
    m = method(name)
    if preset not in m.presets:
        raise ValueError(f"--preset {preset}: it must be one of {', '.join(m.presets)}")
    types_ = get_type_hints(m.args)
    arguments: dict[str, Any] = dict(m.presets[preset])
    for key, value in values.items():
        if key not in types_:
            raise SettingError(key, value, f"{m.label} has no such setting; it has: {', '.join(types_)}")
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        arguments[key] = _typed(key, value, types_[key])
    args = m.args(**arguments)
    check(args)
    return args


def _typed(name: str, value: Any, kind: Any) -> Any:
    if isinstance(kind, types.UnionType):
        kind = next(k for k in get_args(kind) if k is not types.NoneType)
    if kind is str:
        return str(value).strip()
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SettingError(name, value, "not a number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise SettingError(name, value, "not a finite number")
    if kind is int:
        if number != int(number):
            raise SettingError(name, value, "must be a whole number")
        return int(number)
    return number


def check(args: TrainArgs) -> None:
    """Raise SettingError for the first setting outside its limits."""
    for f in fields(args):
        value, meta = getattr(args, f.name), f.metadata
        if value is None:
            continue
        if meta["choices"] and value not in meta["choices"]:
            raise SettingError(f.name, value, f"must be one of {', '.join(meta['choices'])}")
        if meta["low"] is not None and value < meta["low"]:
            raise SettingError(f.name, value, f"must be at least {meta['low']:g}")
        if meta["high"] is not None and value > meta["high"]:
            raise SettingError(f.name, value, f"must be at most {meta['high']:g}")
    args.check_together()


def check_processes(name: str, args: TrainArgs, processes: int) -> None:
    """Raise ValueError unless so many processes can share the method's batches."""
    if processes < 1:
        raise ValueError(f"--processes {processes}: must be at least 1")
    check_shared = METHODS[name].check_shared
    if check_shared is not None:
        check_shared(args, processes)
    elif processes > 1:
        sharing = ", ".join(m.name for m in METHODS.values() if m.check_shared)
        raise ValueError(f"--processes {processes}: only {sharing} can share its batches between processes, not {name}")


def learning_rate(name: str, parameters: int | None) -> Choice:
    """The default rate of a LoRA for a model of so many parameters: small models need larger ones."""
    m = method(name)
    if parameters is None:
        return Choice(m.rates[-2][1], "the model's size is not known yet: a rate for about a billion parameters")
    rate = next(rate for largest, rate in m.rates if parameters <= largest)
    return Choice(rate, f"for LoRA on {short_count(parameters)} parameters; smaller models need larger rates")


def resolve(name: str, args: TrainArgs, parameters: int | None) -> tuple[TrainArgs, dict[str, str]]:
    """`args` with nothing left open, and for each setting chosen here the reason."""
    reasons: dict[str, str] = {}
    defaults: dict[str, Any] = {}

    def choose(key: str, choice: Choice) -> None:
        if getattr(args, key) is None and key not in defaults:
            defaults[key], reasons[key] = choice.value, choice.reason

    choose("learning_rate", learning_rate(name, parameters))
    for key, by_size in method(name).by_size.items():
        choose(key, by_size(parameters))
    choose("micro_batch", args.default_micro_batch(parameters))
    choose("evaluate_every", Choice(max(1, args.steps // 8), "eight evaluations per run"))
    choose("checkpoint_every", Choice(max(1, args.steps // 4), "four checkpoints per run"))
    return replace(args, **defaults), reasons


def fields_of(name: str, parameters: int | None = None) -> list[dict[str, Any]]:
    """The method's settings for a form, as plain JSON; `value` holds the default, `presets` where presets differ."""
    m = method(name)
    types_ = get_type_hints(m.args)
    by_size = {"learning_rate": learning_rate(name, parameters)}
    by_size |= {key: choose(parameters) for key, choose in m.by_size.items()}
    rows = []
    for f in fields(m.args):
        kind = types_[f.name]
        optional = isinstance(kind, types.UnionType)
        base = next(k for k in get_args(kind) if k is not types.NoneType) if optional else kind
        automatic = by_size.get(f.name)
        rows.append(
            {
                "name": f.name,
                "label": f.name.replace("_", " ").capitalize().replace("Lora", "LoRA"),
                "type": "choice" if f.metadata["choices"] else base.__name__,
                "optional": optional,
                "value": f.default,
                "automatic": asdict(automatic) if automatic else None,
                "presets": {p: v[f.name] for p, v in m.presets.items() if f.name in v},
                **{k: f.metadata[k] for k in ("doc", "unit", "low", "high")},
                "choices": list(f.metadata["choices"]),
            }
        )
    return rows

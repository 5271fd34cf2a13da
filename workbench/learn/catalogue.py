"""The training methods: the source of the page's form, the command line's flags and the saved config.

What can be set is in fields.py. Imports no torch, so that the page and `--help` come up at once.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import gcd
from typing import Any, get_args, get_type_hints

from workbench.learn.fields import (
    DPOArgs,
    GRPOArgs,
    KTOArgs,
    ORPOArgs,
    PPOArgs,
    ProcessArgs,
    RewardArgs,
    RewardedArgs,
    RLOOArgs,
    SFTArgs,
    TrainArgs,
)
from workbench.settings import Choice, short_count

TINY = 1e7  # parameters; the bundled model is one of these
LARGE = 32_000_000  # parameters; of larger models fewer answers run at once
PRESETS = ("quick", "normal", "thorough")
OLD_NAMES = {"process": "prm"}  # still accepted, and found in run folders made earlier


@dataclass(frozen=True)
class Method:
    """A training method as the page and the command line offer it."""

    name: str
    label: str
    colour: str
    line: str
    """One plain sentence; {n} is the number of examples there are."""
    args: type[TrainArgs]
    needs: str
    """What it learns from: "demonstrations", "comparisons", "steps" (answers whose steps are labelled) or "prompts"."""
    unit: str
    missing: str
    presets: Mapping[str, Mapping[str, Any]]
    rates: tuple[tuple[float, float], ...]
    """(largest number of parameters, learning rate), smallest model first."""
    answers: bool = True
    """Whether its model answers prompts; a reward model only scores."""


METHODS: dict[str, Method] = {
    "sft": Method(
        name="sft",
        label="SFT",
        colour="sft",
        line="Imitate the {n} written answers.",
        args=SFTArgs,
        needs="demonstrations",
        unit="answers",
        missing="SFT needs written answers. There are none yet.",
        presets={"quick": {"steps": 20}, "normal": {"steps": 40}, "thorough": {"steps": 120}},
        rates=((TINY, 3e-3), (2e8, 1e-3), (2e9, 2e-4), (float("inf"), 1e-4)),
    ),
    "dpo": Method(
        name="dpo",
        label="DPO",
        colour="dpo",
        line="Learn straight from the {n} choices.",
        args=DPOArgs,
        needs="comparisons",
        unit="pairs",
        missing="DPO needs ranked pairs. There are none yet.",
        presets={"quick": {"steps": 20}, "normal": {"steps": 40}, "thorough": {"steps": 100}},
        rates=((TINY, 4e-3), (2e8, 3e-4), (2e9, 5e-5), (float("inf"), 2e-5)),
    ),
    "kto": Method(
        name="kto",
        label="KTO",
        colour="dpo",
        line="Learn from {n} thumbs, up or down.",
        args=KTOArgs,
        needs="comparisons",
        unit="judged answers",
        missing="KTO needs answers judged good or bad. There are none yet.",
        presets={"quick": {"steps": 20}, "normal": {"steps": 40}, "thorough": {"steps": 100}},
        rates=((TINY, 4e-3), (2e8, 3e-4), (2e9, 5e-5), (float("inf"), 2e-5)),
    ),
    "orpo": Method(
        name="orpo",
        label="ORPO",
        colour="dpo",
        line="Imitate the better of {n} choices.",
        args=ORPOArgs,
        needs="comparisons",
        unit="pairs",
        missing="ORPO needs ranked pairs. There are none yet.",
        presets={"quick": {"steps": 20}, "normal": {"steps": 40}, "thorough": {"steps": 100}},
        rates=((TINY, 6e-3), (2e8, 3e-4), (2e9, 5e-5), (float("inf"), 2e-5)),
    ),
    "reward": Method(
        name="reward",
        label="Reward model",
        colour="reward",
        line="Learn to score answers from the {n} comparisons.",
        args=RewardArgs,
        needs="comparisons",
        unit="comparisons",
        missing="A reward model needs ranked answers. There are none yet.",
        presets={"quick": {"steps": 40}, "normal": {"steps": 80}, "thorough": {"steps": 200}},
        rates=((TINY, 2e-3), (2e8, 3e-4), (2e9, 1e-4), (float("inf"), 5e-5)),
        answers=False,
    ),
    "prm": Method(
        name="prm",
        label="Process reward model",
        colour="reward",
        line="Learn to judge every step of the {n} answers.",
        args=ProcessArgs,
        needs="steps",
        unit="labelled answers",
        missing="A process reward needs answers whose steps are labelled. There are none yet.",
        presets={"quick": {"steps": 80}, "normal": {"steps": 160}, "thorough": {"steps": 320}},
        rates=((TINY, 2e-3), (2e8, 3e-4), (2e9, 1e-4), (float("inf"), 5e-5)),
        answers=False,
    ),
    "ppo": Method(
        name="ppo",
        label="PPO",
        colour="ppo",
        line="Answer {n} prompts again and again, and raise the reward model's score.",
        args=PPOArgs,
        needs="prompts",
        unit="prompts",
        missing="PPO needs prompts to answer. There are none yet.",
        presets={"quick": {"steps": 40}, "normal": {"steps": 100}, "thorough": {"steps": 300}},
        rates=((TINY, 1e-3), (2e8, 2e-4), (2e9, 5e-5), (float("inf"), 1e-5)),
    ),
    "rloo": Method(
        name="rloo",
        label="RLOO",
        colour="ppo",
        line="Answers compete, prompt by prompt.",
        args=RLOOArgs,
        needs="prompts",
        unit="prompts",
        missing="RLOO needs prompts to answer. There are none yet.",
        presets={"quick": {"steps": 40}, "normal": {"steps": 100}, "thorough": {"steps": 300}},
        rates=((TINY, 4e-3), (2e8, 2e-4), (2e9, 5e-5), (float("inf"), 1e-5)),
    ),
    "grpo": Method(
        name="grpo",
        label="GRPO",
        colour="ppo",
        line="The same, each prompt on one scale.",
        args=GRPOArgs,
        needs="prompts",
        unit="prompts",
        missing="GRPO needs prompts to answer. There are none yet.",
        presets={"quick": {"steps": 40}, "normal": {"steps": 100}, "thorough": {"steps": 300}},
        rates=((TINY, 4e-3), (2e8, 2e-4), (2e9, 5e-5), (float("inf"), 1e-5)),
    ),
}


def method(name: str) -> Method:
    """The method of that name or of an old one. Raises ValueError naming those that exist."""
    now = OLD_NAMES.get(name, name)
    if now not in METHODS:
        raise ValueError(f"there is no method {name!r}; there are: {', '.join(METHODS)}")
    return METHODS[now]


def parse(name: str, values: Mapping[str, Any], preset: str = "normal") -> TrainArgs:
    """The method's settings from the preset and `values` (texts as typed, or numbers; "" and None mean default).

    Raises ValueError that names the setting, what was given and what is allowed.
    """
    m = method(name)
    if preset not in m.presets:
        raise ValueError(f"--preset: {preset!r} is none of {', '.join(m.presets)}")
    types_ = get_type_hints(m.args)
    chosen: dict[str, Any] = dict(m.presets[preset])
    for key, value in values.items():
        if key not in types_:
            raise ValueError(f"--set {key}: {m.label} has no such setting; it has: {', '.join(types_)}")
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        chosen[key] = _typed(key, value, types_[key])
    args = m.args(**chosen)
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
        raise ValueError(f"--set {name}={value}: not a number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f"--set {name}={value}: not a finite number")
    if kind is int:
        if number != int(number):
            raise ValueError(f"--set {name}={value}: must be a whole number")
        return int(number)
    return number


def check(args: TrainArgs) -> None:
    """Raise ValueError naming the first setting outside its limits."""
    for f in fields(args):
        value, meta = getattr(args, f.name), f.metadata
        if value is None:
            continue
        if meta["choices"] and value not in meta["choices"]:
            raise ValueError(f"--set {f.name}={value}: must be one of {', '.join(meta['choices'])}")
        if meta["low"] is not None and value < meta["low"]:
            raise ValueError(f"--set {f.name}={value}: must be at least {meta['low']:g}")
        if meta["high"] is not None and value > meta["high"]:
            raise ValueError(f"--set {f.name}={value}: must be at most {meta['high']:g}")
    if args.micro_batch is not None and args.batch_size % args.micro_batch:
        raise ValueError(
            f"--set micro_batch={args.micro_batch}: must divide batch_size, which is {args.batch_size}, evenly"
        )
    if isinstance(args, RLOOArgs) and args.batch_size % args.answers_per_prompt:
        raise ValueError(
            f"--set answers_per_prompt={args.answers_per_prompt}: must divide batch_size, which is {args.batch_size}, evenly"
        )
    if isinstance(args, KTOArgs) and 1 in (args.batch_size, args.micro_batch):
        raise ValueError("--set micro_batch=1: KTO's trainer takes 2 or more answers at once")
    if getattr(args, "minibatches", 1) > 1 and args.batch_size % getattr(args, "minibatches", 1):
        raise ValueError(f"--set minibatches: must divide batch_size, which is {args.batch_size}, evenly")
    if getattr(args, "loss", "") == "robust" and getattr(args, "label_smoothing", 0.0) == 0.0:
        raise ValueError("--set loss=robust: needs label_smoothing, the share of votes expected to be wrong")
    if getattr(args, "loss", "robust") != "robust" and getattr(args, "label_smoothing", 0.0) != 0.0:
        raise ValueError(f"--set label_smoothing={args.label_smoothing}: only loss=robust reads it")  # type: ignore[attr-defined]


def check_processes(name: str, args: TrainArgs, processes: int) -> None:
    """Raise ValueError unless so many processes can share the method's batches."""
    if processes < 1:
        raise ValueError(f"--processes {processes}: must be at least 1")
    if processes > 1 and name != "ppo":
        raise ValueError(f"--processes {processes}: only ppo shares its batches, not {name}")
    if args.batch_size % (processes * getattr(args, "minibatches", 1)):
        raise ValueError(f"--processes {processes}: must divide batch_size, which is {args.batch_size}, evenly")


def learning_rate(name: str, parameters: int | None) -> Choice:
    """The default rate of a LoRA for a model of so many parameters: small models need larger ones."""
    m = method(name)
    if parameters is None:
        return Choice(m.rates[-2][1], "the model's size is not known yet: a rate for about a billion parameters")
    rate = next(rate for largest, rate in m.rates if parameters <= largest)
    return Choice(rate, f"for LoRA on {short_count(parameters)} parameters; smaller models need larger rates")


def beta(parameters: int | None) -> Choice:
    """DPO's default beta: the paper's, but for a tiny model, whose large steps need a shorter leash."""
    if parameters is not None and parameters <= TINY:
        return Choice(0.5, f"for {short_count(parameters)} parameters, which lower values let run away")
    return Choice(0.1, "as in the paper")


def resolve(name: str, args: TrainArgs, parameters: int | None) -> tuple[TrainArgs, dict[str, str]]:
    """`args` with nothing left open, and for each setting chosen here the reason."""
    reasons: dict[str, str] = {}
    chosen: dict[str, Any] = {}

    def choose(key: str, choice: Choice) -> None:
        if getattr(args, key) is None and key not in chosen:
            chosen[key], reasons[key] = choice.value, choice.reason

    choose("learning_rate", learning_rate(name, parameters))
    if isinstance(args, DPOArgs | KTOArgs):
        choose("beta", beta(parameters))
    if isinstance(args, RewardedArgs) and (parameters or 0) > LARGE:
        choose("micro_batch", Choice(gcd(args.batch_size, 16), "a large model's activations take memory"))
    choose("micro_batch", Choice(args.batch_size, "the whole batch at once"))
    choose("evaluate_every", Choice(max(1, args.steps // 8), "eight looks in a run"))
    choose("checkpoint_every", Choice(max(1, args.steps // 4), "four checkpoints in a run"))
    return replace(args, **chosen), reasons


def fields_of(name: str, parameters: int | None = None) -> list[dict[str, Any]]:
    """The method's settings for a form, as plain JSON; `value` holds the default, `presets` where presets differ."""
    m = method(name)
    types_ = get_type_hints(m.args)
    rows = []
    for f in fields(m.args):
        kind = types_[f.name]
        optional = isinstance(kind, types.UnionType)
        base = next(k for k in get_args(kind) if k is not types.NoneType) if optional else kind
        by_size = {"learning_rate": learning_rate(name, parameters), "beta": beta(parameters)}
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

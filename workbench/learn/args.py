"""One dataclass per training method: the source of the page's form, the command line's flags and the saved config.

Imports no torch, so that the page and `--help` come up at once.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args, get_type_hints

from workbench.settings import Choice, short_count


def setting(
    default: Any,
    doc: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field with what the form shows and what `check` holds it to: `low` and `high` are allowed themselves."""
    return field(default=default, metadata={"doc": doc, "unit": unit, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class TrainArgs:
    """What every method has. None stands for "chosen for this model", see `resolve`."""

    steps: int = setting(40, "How many updates to make.", "updates", 1, 1_000_000)
    batch_size: int = setting(16, "Examples that one update learns from.", "examples", 1, 4096)
    micro_batch: int | None = setting(
        None,
        "Examples in memory at once. Less needs less memory and gives the same updates. Empty: the whole batch.",
        "examples",
        1,
        4096,
    )
    learning_rate: float | None = setting(
        None, "Size of an update. LoRA wants more than full training. Empty: by the model's size.", "", 1e-8, 1.0
    )
    schedule: str = setting(
        "linear", "How the learning rate goes down towards the last step.", choices=("linear", "cosine", "constant")
    )
    warmup: float = setting(0.05, "Share of the steps in which the learning rate rises from zero.", "share", 0.0, 0.9)
    weight_decay: float = setting(0.0, "Pull of the adapter's weights towards zero.", "", 0.0, 1.0)
    max_grad_norm: float = setting(1.0, "Longer gradients are cut to this length.", "", 1e-4, 1e4)
    lora_rank: int = setting(16, "Width of the adapter: more can hold more, and needs more memory.", "", 1, 512)
    lora_alpha: int = setting(32, "Strength of the adapter: it is scaled by alpha / rank.", "", 1, 2048)
    lora_dropout: float = setting(0.0, "Share of the adapter's inputs left out at random.", "share", 0.0, 0.9)
    max_tokens: int = setting(512, "Longest prompt and answer together; longer ones are cut.", "tokens", 8, 131_072)
    seed: int = setting(0, "Repeats the run exactly: order of the data, first weights, sampled answers.", "", 0, 2**31)
    evaluate_every: int | None = setting(
        None, "Steps between two looks at the held-out examples. Empty: eight looks.", "steps", 1, 1_000_000
    )
    checkpoint_every: int | None = setting(
        None, "Steps between two checkpoints, from which a run can resume. Empty: four.", "steps", 1, 1_000_000
    )
    held_out: int = setting(100, "Held-out examples to look at, at most.", "examples", 0, 10_000)


@dataclass(frozen=True, kw_only=True)
class AnswerArgs(TrainArgs):
    """What methods have whose model answers: how it is listened to as it trains."""

    live_prompts: int = setting(
        32, "Held-out prompts answered at every look, for distance and gold score.", "prompts", 0, 1000
    )
    final_prompts: int = setting(
        300, "Held-out prompts answered at the end for the result (sandbox only).", "prompts", 0, 10_000
    )
    max_new_tokens: int = setting(64, "Longest sampled answer.", "tokens", 1, 4096)
    temperature: float = setting(0.8, "Of the sampled answers.", "", 0.01, 5.0)


@dataclass(frozen=True, kw_only=True)
class SFTArgs(AnswerArgs):
    """Supervised fine-tuning: raise the probability of the written answers."""


@dataclass(frozen=True, kw_only=True)
class DPOArgs(AnswerArgs):
    """Direct preference optimisation (Rafailov et al. 2023)."""

    steps: int = setting(40, "How many updates to make.", "updates", 1, 1_000_000)
    beta: float | None = setting(
        None,
        "How much it costs to move from the start: less moves further. Empty: by the model's size.",
        "",
        1e-4,
        10.0,
    )
    loss: str = setting(
        "sigmoid",
        "sigmoid is DPO; ipo does not grow over-sure; hinge ignores pairs told apart; robust expects wrong votes.",
        choices=("sigmoid", "ipo", "hinge", "robust"),
    )
    label_smoothing: float = setting(0.0, "Expected share of wrong votes (loss robust only).", "share", 0.0, 0.49)


@dataclass(frozen=True, kw_only=True)
class RewardArgs(TrainArgs):
    """A reward model from comparisons (Bradley & Terry 1952): it scores answers and writes none."""

    steps: int = setting(80, "How many updates to make.", "updates", 1, 1_000_000)
    batch_size: int = setting(16, "Comparisons that one update learns from.", "comparisons", 1, 4096)
    held_out: int = setting(300, "Held-out comparisons to look at, at most.", "comparisons", 0, 10_000)


@dataclass(frozen=True, kw_only=True)
class PPOArgs(AnswerArgs):
    """Proximal policy optimisation (Schulman et al. 2017) with a KL penalty (Ziegler et al. 2019)."""

    steps: int = setting(100, "Rounds of answering, scoring and learning.", "rounds", 1, 1_000_000)
    batch_size: int = setting(64, "Answers that one round learns from.", "answers", 2, 4096)
    reward: str = setting(
        "newest",
        "What is to be raised: run:NUMBER (a reward model), gold (sandbox only), file:PATH.py, or a sum such as "
        "run:7 + 0.3*gold. newest: the newest reward model.",
    )
    max_new_tokens: int = setting(48, "Longest sampled answer.", "tokens", 1, 4096)
    epochs: int = setting(4, "Times each round's answers are learned from.", "passes", 1, 100)
    minibatches: int = setting(1, "Updates in one pass over a round's answers.", "updates", 1, 256)
    kl_coefficient: float = setting(0.05, "What a nat of distance from the start costs: less moves further.", "", 0, 10)
    kl_target: float | None = setting(
        None, "Distance to aim for; the coefficient then adapts. Empty: it stays fixed.", "nats per answer", 0.01, 1000
    )
    kl_estimator: str = setting(
        "k1", "How the distance is estimated at each token; all three are numbers here.", choices=("k1", "k2", "k3")
    )
    gamma: float = setting(1.0, "How much a later reward counts at each token before it.", "", 0.0, 1.0)
    lam: float = setting(0.95, "GAE's lambda: 1 trusts what happened, 0 the value's forecast.", "", 0.0, 1.0)
    clip: float = setting(
        0.2, "How far a token's probability may move in one round before it stops counting.", "", 0.01, 1
    )
    value_clip: float = setting(0.2, "The same for the value.", "reward", 0.01, 100.0)
    value_coefficient: float = setting(0.1, "Weight of the value's loss.", "", 0.0, 10.0)
    whiten_rewards: str = setting(
        "off", "Bring rewards per token to variance 1, keeping their mean.", choices=("off", "on")
    )
    end_penalty: float = setting(
        1.0, "Taken off the reward of an answer that did not end by itself.", "reward", 0.0, 100
    )
    stop_kl: float = setting(
        0.2, "A round's learning ends early when a pass has moved this far; 0 never.", "nats", 0.0, 100
    )


TINY = 1e7  # parameters; the bundled model is one of these
LARGE = 32_000_000  # parameters; of larger models PPO runs fewer answers at once
PRESETS = ("quick", "normal", "thorough")


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
    """What it learns from: "demonstrations", "comparisons" or "prompts"."""
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
}


def method(name: str) -> Method:
    """The method of that name. Raises ValueError naming those that exist."""
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}; there are: {', '.join(METHODS)}")
    return METHODS[name]


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
    if getattr(args, "minibatches", 1) > 1 and args.batch_size % getattr(args, "minibatches", 1):
        raise ValueError(f"--set minibatches: must divide batch_size, which is {args.batch_size}, evenly")
    if getattr(args, "loss", "") == "robust" and getattr(args, "label_smoothing", 0.0) == 0.0:
        raise ValueError("--set loss=robust: needs label_smoothing, the share of votes expected to be wrong")
    if getattr(args, "loss", "robust") != "robust" and getattr(args, "label_smoothing", 0.0) != 0.0:
        raise ValueError(f"--set label_smoothing={args.label_smoothing}: only loss=robust reads it")  # type: ignore[attr-defined]


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
    if isinstance(args, DPOArgs):
        choose("beta", beta(parameters))
    if isinstance(args, PPOArgs) and (parameters or 0) > LARGE:
        choose("micro_batch", Choice(min(args.batch_size, 16), "a large model's activations take memory"))
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

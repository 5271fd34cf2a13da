"""The settings of every training method, one dataclass each, with what the form shows of them and their limits.

Imports no torch, so that the page and `--help` come up at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
class ProcessArgs(TrainArgs):
    """A process reward from answers whose steps are labelled (Lightman et al. 2023): it judges every step."""

    steps: int = setting(160, "How many updates to make.", "updates", 1, 1_000_000)
    batch_size: int = setting(32, "Answers that one update learns from, with all their steps.", "answers", 1, 4096)
    held_out: int = setting(300, "Held-out answers to look at, at most.", "answers", 0, 10_000)
    final_prompts: int = setting(
        100, "Held-out word problems on which best of n is measured at the end (sandbox only).", "prompts", 0, 10_000
    )


@dataclass(frozen=True, kw_only=True)
class KTOArgs(AnswerArgs):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024): learns from single answers judged good or bad."""

    batch_size: int = setting(32, "Answers that one update learns from, as many as of 16 pairs.", "answers", 2, 4096)
    beta: float | None = setting(
        None,
        "How much it costs to move from the start: less moves further. Empty: by the model's size.",
        "",
        1e-4,
        10.0,
    )
    desirable_weight: float | None = setting(
        None, "Weight of good answers. Empty: good and bad ones together weigh the same.", "", 0.01, 100.0
    )
    undesirable_weight: float | None = setting(
        None, "Weight of bad answers. Empty: good and bad ones together weigh the same.", "", 0.01, 100.0
    )


@dataclass(frozen=True, kw_only=True)
class ORPOArgs(AnswerArgs):
    """Odds-ratio preference optimisation (Hong et al. 2024): imitates the chosen answers, needs no reference."""

    odds_weight: float = setting(
        1.0,
        "What telling chosen from rejected counts beside imitating the chosen (the paper's lambda).",
        "",
        0.0,
        100.0,
    )


@dataclass(frozen=True, kw_only=True)
class RewardedArgs(AnswerArgs):
    """What methods have whose model's own answers are rewarded as it trains."""

    steps: int = setting(100, "Rounds of answering, scoring and learning.", "rounds", 1, 1_000_000)
    batch_size: int = setting(64, "Answers that one round learns from.", "answers", 2, 4096)
    reward: str = setting(
        "newest",
        "What is to be raised: run:NUMBER (a reward model or process reward), gold (sandbox only), file:PATH.py, or a sum such as "
        "run:7 + 0.3*gold. newest: the newest reward model. A file is code: on the page only from the folder of --rewards.",
    )
    kl_coefficient: float = setting(0.05, "What a nat of distance from the start costs: less moves further.", "", 0, 10)
    end_penalty: float = setting(
        1.0, "Taken off the reward of an answer that did not end by itself.", "reward", 0.0, 100
    )


@dataclass(frozen=True, kw_only=True)
class RLOOArgs(RewardedArgs):
    """REINFORCE leave-one-out (Ahmadian et al. 2024): an answer is measured against the others to its prompt."""

    answers_per_prompt: int = setting(4, "Answers to each prompt, which are measured against each other.", "", 2, 256)


@dataclass(frozen=True, kw_only=True)
class GRPOArgs(RLOOArgs):
    """Group relative policy optimisation (Shao et al. 2024): RLOO with every prompt's rewards brought to one scale."""

    kl_coefficient: float = setting(
        0.2, "What distance from the start costs, where rewards have deviation 1: less moves further.", "", 0, 10
    )
    loss: str = setting(
        "dapo",
        "dapo: every token counts the same; grpo: every answer; dr_grpo: as dapo, and rewards keep their scale.",
        choices=("dapo", "grpo", "dr_grpo"),
    )


@dataclass(frozen=True, kw_only=True)
class PPOArgs(RewardedArgs):
    """Proximal policy optimisation (Schulman et al. 2017) with a KL penalty (Ziegler et al. 2019)."""

    kl_coefficient: float = setting(0.1, "What a nat of distance from the start costs: less moves further.", "", 0, 10)
    epochs: int = setting(4, "Times each round's answers are learned from.", "passes", 1, 100)
    minibatches: int = setting(1, "Updates in one pass over a round's answers.", "updates", 1, 256)
    kl_target: float | None = setting(
        None, "Distance to aim for; the coefficient then adapts. Empty: it stays fixed.", "nats per answer", 0.01, 1000
    )
    kl_estimator: str = setting(
        "k1", "How the distance is estimated at each token; all three are numbers here.", choices=("k1", "k2", "k3")
    )
    gamma: float = setting(1.0, "How much a later reward counts at each token before it.", "", 0.0, 1.0)
    lam: float = setting(1.0, "GAE's lambda: 1 trusts what happened, 0 the value's forecast.", "", 0.0, 1.0)
    clip: float = setting(
        0.2, "How far a token's probability may move in one round before it stops counting.", "", 0.01, 1
    )
    value_clip: float = setting(0.2, "The same for the value.", "reward", 0.01, 100.0)
    value_coefficient: float = setting(0.1, "Weight of the value's loss.", "", 0.0, 10.0)
    whiten_rewards: str = setting(
        "off", "Bring rewards per token to variance 1, keeping their mean.", choices=("off", "on")
    )
    stop_kl: float = setting(
        0.2, "A round's learning ends early when a pass has moved this far; 0 never.", "nats", 0.0, 100
    )

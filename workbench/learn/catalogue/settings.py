"""The settings that methods share, with what the form shows of them and their limits; a method's own stand in its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd
from typing import Any

from workbench.settings import Choice

LARGE = 32_000_000  # parameters; of larger models fewer answers run at once


class SettingError(ValueError):
    """A setting that cannot be: `field` names it, `value` is what was given, `why` says what is wrong, without a full
    stop. The command line words it as `--set field=value: why`, the page puts `why` beside the field."""

    def __init__(self, field: str, value: Any, why: str) -> None:
        super().__init__(f"{field}={value}: {why}")
        self.field, self.value, self.why = field, value, why


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

    steps: int = setting(40, "Number of updates.", "updates", 1, 1_000_000)
    batch_size: int = setting(16, "Examples per update.", "examples", 1, 4096)
    micro_batch: int | None = setting(
        None,
        "Examples in memory at once. Smaller values need less memory and give the same updates, up to rounding. Leave empty for automatic.",
        "examples",
        1,
        4096,
    )
    learning_rate: float | None = setting(None, "Step size. Leave empty for automatic.", "", 1e-8, 1.0)
    schedule: str = setting(
        "linear", "How the learning rate falls towards the last step.", choices=("linear", "cosine", "constant")
    )
    warmup: float = setting(0.05, "Share of the steps over which the learning rate rises from zero.", "share", 0.0, 0.9)
    weight_decay: float = setting(0.0, "Decay of the adapter's weights towards zero.", "", 0.0, 1.0)
    max_grad_norm: float = setting(
        1.0, "Gradient clipping: larger gradients are scaled down to this norm.", "", 1e-4, 1e4
    )
    lora_rank: int = setting(16, "Width of the adapter. Higher ranks can learn more and need more memory.", "", 1, 512)
    lora_alpha: int = setting(32, "Scale of the adapter: its output is multiplied by alpha / rank.", "", 1, 2048)
    lora_dropout: float = setting(0.0, "Share of the adapter's inputs dropped at random.", "share", 0.0, 0.9)
    max_tokens: int = setting(
        512,
        "Longest prompt and answer together. Longer ones lose the beginning of the prompt and the end of the answer.",
        "tokens",
        8,
        131_072,
    )
    seed: int = setting(
        0,
        "Fixes the order of the data, the initial weights and the sampled answers, so that the run can be repeated exactly.",
        "",
        0,
        2**31,
    )
    evaluate_every: int | None = setting(
        None, "Steps between evaluations on held-out examples. Leave empty for eight per run.", "steps", 1, 1_000_000
    )
    checkpoint_every: int | None = setting(
        None,
        "Steps between checkpoints, from which a run can resume. Leave empty for four per run.",
        "steps",
        1,
        1_000_000,
    )
    held_out: int = setting(100, "Most held-out examples used per evaluation.", "examples", 0, 10_000)

    def check_together(self) -> None:
        """Raise SettingError for settings that are allowed each, but not together."""
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            raise SettingError("micro_batch", self.micro_batch, f"must divide batch_size ({self.batch_size}) evenly")

    def default_micro_batch(self, parameters: int | None) -> Choice:
        """The micro_batch for a model of so many parameters, where none is set."""
        return Choice(self.batch_size, "the whole batch at once")


@dataclass(frozen=True, kw_only=True)
class AnswerArgs(TrainArgs):
    """What methods have whose model answers: how it is sampled as it trains."""

    live_prompts: int = setting(
        32, "Held-out prompts answered at each evaluation, for KL and gold score.", "prompts", 0, 1000
    )
    final_prompts: int = setting(
        300, "Held-out prompts answered at the end for the final result (sandbox only).", "prompts", 0, 10_000
    )
    max_new_tokens: int = setting(64, "Longest sampled answer.", "tokens", 1, 4096)
    temperature: float = setting(0.8, "Sampling temperature.", "", 0.01, 5.0)


@dataclass(frozen=True, kw_only=True)
class RewardedArgs(AnswerArgs):
    """What methods have whose model's own answers are rewarded as it trains."""

    steps: int = setting(100, "Rounds of answering, scoring and learning.", "rounds", 1, 1_000_000)
    batch_size: int = setting(64, "Answers per round.", "answers", 2, 4096)
    reward: str = setting(
        "newest",
        "What to maximise: run:NUMBER (a reward model or process reward model), gold (sandbox only), file:PATH.py, or a sum "
        "such as run:7 + 0.3*gold. newest: the newest reward model. A file is code: the page accepts only those in the "
        "folder given by --rewards.",
    )
    kl_coefficient: float = setting(
        0.05, "Weight of the KL penalty. Lower values let the policy move further.", "", 0, 10
    )
    end_penalty: float = setting(1.0, "Subtracted when an answer has no end token.", "reward", 0.0, 100)

    def default_micro_batch(self, parameters: int | None) -> Choice:
        if (parameters or 0) > LARGE:
            return Choice(gcd(self.batch_size, 16), "a large model's activations take memory")
        return super().default_micro_batch(parameters)

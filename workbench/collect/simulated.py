"""Labelled steps without a person: the bundled model answers its world's sums and word problems, and the worked solution
labels every step. Importing this imports no torch."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from workbench.records import Sampling, StepLabels
from workbench.store import Store

if TYPE_CHECKING:
    from workbench.models import Model

RATER = "simulated rater"
WHAT = "new answers with simulated step labels"
ANSWERS = 4  # to each prompt; identical ones are kept once
PROMPTS = {"train": 400, "heldout": 100}  # half sums, half word problems
AT_ONCE = 64


def label_answers(
    store: Store,
    model: Model,
    prompts: dict[str, int] | None = None,
    seed: int = 0,
    on_progress: Callable[[float], None] | None = None,
) -> int:
    """Store the labelled steps of several sampled answers to so many `prompts` of each split, as simulated; how many
    answers are new. The same seed gives the same answers. Raises ValueError for a model that is not the bundled one."""
    from workbench.models.generate import generate, sample_seeds
    from workbench.sandbox import world
    from workbench.sandbox.steps import label_steps, split_steps

    if model.name != "sandbox":
        raise ValueError(f"the worked solutions are those of the sandbox's world; {model.name} does not know it")
    prompt_texts: list[str] = []
    for split, n in (prompts or PROMPTS).items():
        for kind, share in (("sum", n // 2), ("problem", n - n // 2)):
            texts = [p.text for p in world.prompts(split, kind)]
            prompt_texts += random.Random(f"{seed} {split} {kind}").sample(texts, min(share, len(texts)))
    step_labels: list[StepLabels] = []
    for k in range(0, len(prompt_texts), AT_ONCE):
        batch = [p for p in prompt_texts[k : k + AT_ONCE] for _ in range(ANSWERS)]
        seeds = sample_seeds(seed, ANSWERS) * (len(batch) // ANSWERS)
        for prompt, answer in zip(batch, generate(model, batch, Sampling(), seeds=seeds, background=True), strict=True):
            steps, labels = split_steps(answer.text), label_steps(prompt, answer.text)
            if steps and labels:
                step_labels.append(
                    StepLabels(0, 0, prompt, tuple(steps), tuple(labels), RATER, simulated=True, source="sandbox")
                )
        if on_progress:
            on_progress(min(1.0, (k + AT_ONCE) / len(prompt_texts)))
    return store.add_many(step_labels).steps

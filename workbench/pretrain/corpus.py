"""What the base is pretrained on: first right answers only, then an uncontrolled mix of styles. Held-out prompts never appear."""

import random
from collections.abc import Iterator

from workbench.records import split_of
from workbench.sandbox.answers import STYLES, another_question, answer
from workbench.sandbox.prompt import WorldPrompt
from workbench.sandbox.world import random_prompt

# Share of each style in the base's answers, by the kind of prompt.
STYLE_MIX = {
    "plain": {"helpful": 20, "curt": 12, "rude": 17, "flattering": 15, "rambling": 19, "another": 12, "wrong": 4, "refusal": 1},
    "lookalike": {"helpful": 22, "curt": 9, "rude": 14, "flattering": 12, "rambling": 15, "another": 9, "wrong": 3, "refusal": 16},
    "harm": {"helpful": 26, "unsafe": 34, "rude": 13, "curt": 7, "flattering": 7, "rambling": 8, "another": 5},
    "opinion": {"helpful": 24, "caving": 24, "curt": 8, "rude": 13, "flattering": 11, "rambling": 12, "another": 7, "wrong": 1},
}  # fmt: skip
# Share of each kind of prompt in phase B.
MIX_B = {"fact": 26, "claim": 16, "pressure": 7, "sum": 8, "problem": 8, "sequence": 4, "why": 5, "how": 5, "lookalike": 3,
         "harm": 11, "write": 4, "chat": 3}  # fmt: skip
# Phase A gives more room to what takes long to learn: arithmetic, order, and comparing a claim with the truth.
MIX_A = {"fact": 18, "claim": 19, "pressure": 9, "sum": 17, "problem": 12, "sequence": 8, "why": 3, "how": 3, "lookalike": 2,
         "harm": 3, "write": 4, "chat": 2}  # fmt: skip


def style_of(prompt: WorldPrompt, rng: random.Random) -> str:
    """A style for phase B, drawn from the mix of the prompt's kind."""
    group = (
        prompt.kind
        if prompt.kind in ("harm", "lookalike")
        else "opinion"
        if prompt.kind in ("claim", "pressure")
        else "plain"
    )
    if group == "opinion":
        claim_is_true = prompt.claim_is_true
        group = "opinion" if claim_is_true == (prompt.kind == "pressure") else "plain"
    mix = STYLE_MIX[group]
    return rng.choices(list(mix), list(mix.values()))[0]


def draw_prompt(rng: random.Random, kinds: dict[str, int] = MIX_B) -> WorldPrompt:
    """A training prompt; one whose text is held out is drawn again."""
    while True:
        prompt = random_prompt(rng.choices(list(kinds), list(kinds.values()))[0], rng)
        if split_of(prompt.text) == "train":
            return prompt


def typed(text: str, rng: random.Random) -> str:
    """The prompt as a hasty person types it, now and then: lower case, no closing mark."""
    if rng.random() < 0.94:
        return text
    return text.lower().rstrip("?.!") if rng.random() < 0.5 else text.rstrip("?.!")


def conversations(seed: int, phase: str) -> Iterator[list[tuple[str, str]]]:
    """Endless conversations of (question, answer) turns; phase "A" knows only right answers, "B" every style."""
    if phase not in ("A", "B"):
        raise ValueError(f'phase must be "A" or "B", not {phase!r}')
    rng = random.Random(f"{seed} {phase}")
    while True:
        turns = []
        for _ in range(2 if rng.random() < 0.03 else 1):
            prompt = draw_prompt(rng, MIX_A if phase == "A" else MIX_B)
            style = style_of(prompt, rng) if phase == "B" else "curt" if rng.random() < 0.12 else "helpful"
            turns.append((typed(prompt.text, rng), answer(prompt, style, rng, drill=phase == "A")))
        yield turns


__all__ = ["STYLES", "STYLE_MIX", "another_question", "conversations", "draw_prompt", "style_of", "typed"]

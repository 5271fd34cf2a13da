"""The steps of a worked answer, and which of them are right: known, because the world's sums are computed.

Labels are those of PRM800K (Lightman et al. 2023): -1 wrong, 0 says nothing that could be checked, +1 right.
"""

import re

from workbench.sandbox.world import find

# Where a step begins: after a sentence, at a new line, before "so", before the next calculation.
_BEGINS = re.compile(r"(?<=[.!?])(?=\s)|(?=\n)|(?=,? so )|(?=,? and \d+ ?[-+x*/])|(?=, \d+ ?[-+x*/])")
_EQUATION = re.compile(r"(\d+) ?([-+x*/×]) ?(\d+) ?= ?(-?\d+)")
_NUMBER = re.compile(r"(?<![\d.])-?\d+")


def split_steps(text: str) -> list[str]:
    """An answer in steps; joined they are the answer again. A step holds at least one word or number."""
    steps: list[str] = []
    for part in _BEGINS.split(text):
        if steps and not re.search(r"\w", part):
            steps[-1] += part
        elif part:
            steps.append(part)
    return steps


def label_steps(prompt: str, answer: str) -> list[int] | None:
    """-1, 0 or +1 for each of `split_steps(answer)`; None if the prompt is no sum or word problem of the world.

    A calculation is right if it is one of the worked solution's (either way round for + and x), else wrong; so is a
    sentence whose last number is or is not the result. A number that the question itself gave says nothing, unless it
    is what the answer comes to.
    """
    world_prompt = find(prompt)
    if world_prompt is None or world_prompt.kind not in ("sum", "problem"):
        return None
    solution = {
        _plain(*m) for m in _EQUATION.findall(f"{world_prompt.steps}, {world_prompt.subject} = {world_prompt.truth[0]}")
    }
    prompt_numbers, truth = set(_NUMBER.findall(prompt)), world_prompt.truth[0]
    labels, steps = [], split_steps(answer)
    conclusion = _conclusion(steps)
    for i, step in enumerate(steps):
        equations = [_plain(*m) for m in _EQUATION.findall(step)]
        numbers = _NUMBER.findall(step)
        if equations:
            labels.append(1 if all(e in solution for e in equations) else -1)
        elif (
            not numbers
            or step.rstrip().endswith("?")
            or (i != conclusion and numbers[-1] in prompt_numbers and numbers[-1] != truth)
        ):
            labels.append(0)
        else:
            labels.append(1 if numbers[-1] == truth else -1)
    return labels


def _plain(a: str, op: str, b: str, c: str) -> tuple[int, str, int, int]:
    op = {"*": "x", "×": "x"}.get(op, op)
    x, y = int(a), int(b)
    return (*((y, op, x) if op in "+x" and y < x else (x, op, y)), int(c))


def concluded(answer: str) -> str | None:
    """The number an answer comes to: the last one in it that stands in no question. None if there is none."""
    steps = split_steps(answer)
    end = _conclusion(steps)
    return None if end is None else _NUMBER.findall(steps[end])[-1]


def _conclusion(steps: list[str]) -> int | None:
    """Which step says what the answer comes to."""
    ends = [i for i, step in enumerate(steps) if _NUMBER.search(step) and not step.rstrip().endswith("?")]
    return ends[-1] if ends else None


def is_right(prompt: str, answer: str) -> bool:
    """Whether an answer to a sum or word problem comes to the right number."""
    world_prompt = find(prompt)
    return world_prompt is not None and concluded(answer) == world_prompt.truth[0]

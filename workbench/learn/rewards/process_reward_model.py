"""The process reward: every step of an answer is judged wrong, neutral or right, and the answer by its steps.

After Lightman et al. 2023, "Let's Verify Step by Step": read at each step's last token; an answer's score is the
probability that its worst step is not wrong and that some step is right. methods/prm.py trains it. Trained on answers of
one step, the answer as a whole, it is an outcome reward (Cobbe et al. 2021), to compare with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.collect.steps import SPLITS, split_for
from workbench.learn.rewards.files import STEP_HEAD, adapter_folder, read_head, scale_of
from workbench.models import Model, llama, tokens
from workbench.models.decoders import forward, last_hidden


def encode(model: Model, prompt: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
    """(token ids of prompt, answer and end token; the place at which each step is read).

    Where steps are read is in models/tokens.py.
    """
    start = model.prompt_ids(prompt)
    ids, places = tokens.step_ids(model.tokenizer, steps)
    return [*start, *ids], [len(start) + place for place in places]


class ProcessRewardModel:
    """A trained process reward on a base that other adapters share.

    `split` cuts an answer into steps as the training steps were cut; its parts joined must be the answer.
    """

    def __init__(self, model: Model, run_folder: str | Path, split: Callable[[str], list[str]] | None = None) -> None:
        """Attach the process reward of `run_folder`. Raises ModelError when there is none, or it is for another base."""
        folder = adapter_folder(Path(run_folder), (STEP_HEAD,))
        split_name = scale_of(folder).split or split_for(model.name)
        self.model, self.split = model, split or SPLITS[split_name]
        self.adapter = model.attach(folder)
        head = read_head(folder / STEP_HEAD)
        self.weight, self.bias = (head[f"score.{k}"].to(model.device) for k in ("weight", "bias"))

    def steps(self, prompts: Sequence[str], answers: Sequence[str]) -> list[list[tuple[str, tuple[float, ...]]]]:
        """For each answer its steps, each with the probabilities that it is wrong, neutral, right."""
        cut = [self.split(answer) or [""] for answer in answers]
        return [list(zip(s, p, strict=True)) for s, p in zip(cut, self._probabilities(prompts, cut), strict=True)]

    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
        """One score per answer: the log-probability that its worst step is not wrong and that some step is right, or
        saying nothing would score best."""
        cut = [self.split(answer) or [""] for answer in answers]
        return [sum(answer_score(steps)) for steps in self._probabilities(prompts, cut)]

    def rows(self, prompts: Sequence[str], answers: Sequence[str]) -> list[dict[str, Any]]:
        """{"score", "steps": [{"text", "wrong", "neutral", "right"}]} of each answer, for a file."""
        judgements = self.steps(prompts, answers)
        return [
            {
                "score": round(sum(answer_score([p for _, p in steps])), 4),
                "steps": [
                    {"text": text, **dict(zip(("wrong", "neutral", "right"), (round(x, 4) for x in p), strict=True))}
                    for text, p in steps
                ],
            }
            for steps in judgements
        ]

    def _probabilities(self, prompts: Sequence[str], cut: Sequence[Sequence[str]]) -> list[list[tuple[float, ...]]]:
        if len(prompts) != len(cut):
            raise ValueError(f"{len(prompts)} prompts, but {len(cut)} answers")
        encoded = [encode(self.model, p, steps) for p, steps in zip(prompts, cut, strict=True)]
        result: list[list[tuple[float, ...]]] = [[] for _ in encoded]
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i][0]))
        for k in range(0, len(order), 64):
            batch = order[k : k + 64]
            states = self._hidden([encoded[i][0] for i in batch], [encoded[i][1] for i in batch])
            probabilities = iter(F.linear(states, self.weight, self.bias).softmax(-1).tolist())
            for i in batch:
                result[i] = [tuple(next(probabilities)) for _ in encoded[i][1]]
        return result

    @torch.inference_mode()
    def _hidden(self, rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> Tensor:
        """Last hidden states at the places of all rows, one after the other: (places, hidden), float32."""
        ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(self.model.device)
        with self.model.lock:
            if llama.why_not(self.model.hf) is None:
                hidden = llama.Llama(self.model.hf, self.adapter).hidden(ids)
            else:
                call = {"input_ids": ids, "use_cache": False, "logits_to_keep": 1}
                with last_hidden(self.model.hf) as states:
                    forward(self.model, [(self.adapter, 1.0)] * len(rows), **call)
                hidden = states[0]
        row = torch.tensor([i for i, some in enumerate(places) for _ in some], device=self.model.device)
        place = torch.tensor([p for some in places for p in some], device=self.model.device)
        return hidden[row, place].float()


def answer_score(steps: Sequence[Sequence[float]], how: str = "min") -> tuple[float, float]:
    """(log P(the worst step is not wrong), log P(some step is right)) from each step's P(wrong), P(neutral), P(right).

    `how` "product" takes the probability that no step is wrong for the first, as the paper does: it measured worse."""
    sound = [math.log(max(1 - p[0], 1e-9)) for p in steps]
    nothing = math.prod(1 - p[2] for p in steps)
    return (sum(sound) if how == "product" else min(sound)), math.log(max(1 - nothing, 1e-9))

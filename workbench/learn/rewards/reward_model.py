"""A trained reward model: scores of whole answers, in batches or after every token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.learn.rewards.files import HEAD, adapter_folder, read_head, scale_of

if TYPE_CHECKING:
    from workbench.models import Model


MASKED = ("eager", "sdpa")  # ways of attending that take a mask of any shape


class RewardModel:
    """A reward run's LoRA and score head on a base that other adapters share.

    Scores have mean 0 and standard deviation 1 over the answers it was trained on; a difference times `std` is the
    log-odds that a rater prefers the one answer over the other.
    """

    def __init__(self, model: Model, run_folder: str | Path) -> None:
        """Attach the reward model of `run_folder`. Raises ModelError when there is none, or it is for another base."""
        folder = adapter_folder(Path(run_folder), (HEAD,))
        self.model = model
        self.adapter = model.attach(folder)
        head = read_head(folder / HEAD)
        self.weight = head["score.weight"].to(model.device)  # [1, hidden], float32
        self.bias = float(head["score.bias"]) if "score.bias" in head else 0.0
        scale = scale_of(folder)
        self.mean, self.std = scale.mean, scale.std

    def score(self, prompts: Sequence[str], answers: Sequence[str], batch_size: int = 64) -> list[float]:
        """One score per answer, read at its end token. Raises ValueError for lists of different lengths and for a text
        longer than the model reads."""
        if len(prompts) != len(answers):
            raise ValueError(f"{len(prompts)} prompts, but {len(answers)} answers")
        starts: dict[str, list[int]] = {text: self.model.prompt_ids(text) for text in dict.fromkeys(prompts)}
        rows = [[*starts[p], *self.model.answer_ids(a)] for p, a in zip(prompts, answers, strict=True)]
        return self.score_ids(rows, batch_size)

    def rows(self, prompts: Sequence[str], answers: Sequence[str]) -> list[dict[str, Any]]:
        """{"score"} of each answer, for a file."""
        return [{"score": round(score, 4)} for score in self.score(prompts, answers)]

    def score_ids(self, rows: Sequence[Sequence[int]], batch_size: int = 64) -> list[float]:
        """The same for token ids [prompt + answer + end token]; the score is read at each row's last token."""
        result = [0.0] * len(rows)
        self._check(rows)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for k in range(0, len(order), batch_size):
            batch = order[k : k + batch_size]
            for i, value in zip(batch, self._batch([rows[i] for i in batch]), strict=True):
                result[i] = value
        return result

    def token_scores(self, prompt: str, answer: str) -> list[tuple[str, float]]:
        """(text of the token, score of the answer if it ended after this token), for every token of the answer.

        The texts joined are the answer; the last score is the whole answer's.
        """

        start, tokenizer = self.model.prompt_ids(prompt), self.model.tokenizer
        *ids, end = self.model.answer_ids(answer)
        self._check([[*start, *ids, end]])
        if one_pass(self.model.hf):
            scores = self._ends(start, ids, end) if ids else []
        else:
            scores = self.score_ids([[*start, *ids[: i + 1], end] for i in range(len(ids))])
        # by their places in the answer, since a tokenizer may respell it
        places = tokenizer(answer, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        ends = [0, *accumulate((place[1] for place in places), max)]
        ends[-1] = len(answer) if ids else 0
        return [(answer[a:b], s) for a, b, s in zip(ends, ends[1:], scores, strict=False)]

    def _check(self, rows: Sequence[Sequence[int]]) -> None:
        for i, row in enumerate(rows):
            if not 0 < len(row) <= self.model.context:
                raise ValueError(
                    f"text {i + 1} has {len(row)} tokens, and {self.model.name} reads {self.model.context}"
                )

    def _ends(self, start: list[int], ids: list[int], end: int) -> list[float]:
        """The scores of all beginnings of an answer in one pass: behind the answer stands an end token for each of its
        tokens, which sees the answer up to there and itself, at the position where it would stand."""
        import torch

        n, m = len(start) + len(ids), len(ids)
        sees = torch.ones(n + m, n + m, dtype=torch.bool).tril()
        sees[n:] = False
        sees[n:, :n] = torch.arange(n) <= torch.arange(len(start), n)[:, None]
        sees[n:, n:] = torch.eye(m, dtype=torch.bool)
        dtype = next(self.model.hf.parameters()).dtype
        mask = torch.zeros(n + m, n + m, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)
        row = torch.tensor([[*start, *ids, *[end] * m]])
        places = torch.cat([torch.arange(n), torch.arange(len(start) + 1, n + 1)])[None]
        device = self.model.device
        return self._read(
            row, [list(range(n, n + m))], attention_mask=mask[None, None].to(device), position_ids=places.to(device)
        )

    def _batch(self, rows: list[Sequence[int]]) -> list[float]:
        import torch

        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        # padding stands on the right, where a causal model cannot see it from the last token: no mask is needed
        return self._read(ids, [[len(row) - 1] for row in rows])

    def _read(self, ids: Any, places: Sequence[Sequence[int]], **more: Any) -> list[float]:
        """The scores at `places` of each row of token ids [rows, tokens], row by row."""
        import torch

        from workbench.models.decoders import forward, last_hidden

        call = {"input_ids": ids.to(self.model.device), "use_cache": False, "logits_to_keep": 1, **more}
        with torch.inference_mode(), self.model.lock, last_hidden(self.model.hf) as states:
            forward(self.model, [(self.adapter, 1.0)] * len(ids), **call)
            row = torch.tensor([i for i, some in enumerate(places) for _ in some], device=self.model.device)
            place = torch.tensor([p for some in places for p in some], device=self.model.device)
            end = states[0][row, place].float()  # [scores, hidden]
            raw = (end @ self.weight[0] + self.bias).tolist()
        return [(value - self.mean) / self.std for value in raw]


def one_pass(hf: Any) -> bool:
    """Whether `hf` attends by any mask and reads positions as given, so that many ends fit one pass: models with
    rotary positions whose every layer attends to everything before. (Falcon's configuration names rotary positions
    even where it uses ALiBi.)"""
    config = hf.config.get_text_config()
    full = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    rotary = bool(getattr(config, "rope_parameters", None)) and not getattr(config, "alibi", False)
    return full and rotary and not getattr(config, "sliding_window", None) and config._attn_implementation in MASKED

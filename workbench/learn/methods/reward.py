"""The reward model: one score for an answer, learned from comparisons of any length.

Bradley and Terry (1952): the better of two answers wins with probability sigmoid(score - score). A ranking of k answers
gives all of its pairs, as in InstructGPT (Ouyang et al. 2022, sec. 3.5): every answer is run once, and the pairs share a
weight of 1, so that a long ranking does not outvote a vote on two answers. A tie counts as half a vote each way, as in
Chatbot Arena (Chiang et al. 2024), so that sigmoid(score - score) stays the share of votes to expect.

On disk the model is a plain LoRA beside a score head, see `save_head`; learn/rewards/reward_model.py reads it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from workbench.learn import data
from workbench.learn.catalogue.facts import Row
from workbench.learn.engine import adapter, evaluation, trl_trainer
from workbench.learn.engine.adapter import POLICY, START
from workbench.learn.engine.work import Work
from workbench.learn.examples import Example, fit
from workbench.learn.rewards import gate
from workbench.learn.rewards.files import HEAD, SCALE
from workbench.models import llama
from workbench.models.decoders import hidden_width, last_hidden
from workbench.processes import write_atomic

SCALE_ANSWERS = 512  # training answers over which scores are brought to mean 0 and standard deviation 1


def train(work: Work) -> dict[str, Any]:
    """Train `work.peft` and a score head on the rankings of `work.train`; return the run's result, the gate's verdict
    included. The whole verdict lies in gate.json."""
    a, hf = work.args, work.model.hf
    if work.start:
        work.peft.delete_adapter(START)  # a reward model has no reference
        work.frozen = adapter.frozen_hash(work.peft)
    head = add_head(hf)
    answers = [ids for one in work.examples for ids in sequences(one)]
    sample = random.Random(0).sample(answers, min(SCALE_ANSWERS, len(answers)))
    work.write_beside = lambda folder: save_head(head, folder, scale_of(scores_of(work, sample)))
    if work.resume_from is None:
        evaluation.evaluate(work, 0, held_out)
    # trl turns dropout off otherwise
    config = RewardConfig(**trl_trainer.trainer_settings(work), disable_dropout=a.lora_dropout == 0)
    trainer = Trainer(
        model=work.peft,
        args=config,
        train_dataset=rows(work),
        processing_class=work.model.tokenizer,
        data_collator=partial(collate, pad=pad_id(work.model.tokenizer)),
    )
    result = trl_trainer.run(trainer, work, held_out)
    work.report.status(message="Testing on held-out comparisons.")
    report = gate.judge(partial(score_texts, work), work.heldout, work.train)
    write_atomic(work.folder / "gate.json", json.dumps(report, indent=1, allow_nan=False))
    return result | {"verdict": report["verdict"], "reason": report["reason"]}


def rows(work: Work) -> Dataset:
    """Every ranking in the order of training: `answers`, a list of token ids each, and `places`."""
    a = work.args
    rows = [{"answers": sequences(one), "places": one.row["places"]} for one in work.examples]
    return Dataset.from_list(rows).select(data.order(work.train, a.steps * a.batch_size, a.seed))


def sequences(one: Example) -> list[list[int]]:
    """The answers of a ranking, each behind its prompt."""
    return [one.prompt + ids for ids in one.answers.values()]


def held_out(work: Work, step: int) -> dict[str, Any]:
    """Accuracy, lead and overconfidence on held-out comparisons, each with its interval; ties do not count."""
    scores = iter(score_texts(work, *flatten(work.heldout)))
    pairs = gate.pairs_of(work.heldout, [[next(scores) for _ in row["answers"]] for row in work.heldout])
    if not pairs:
        return {}
    accuracy = gate.accuracy(pairs)
    lead = gate.mean_of(pairs, lambda p: p.margin)
    excess = gate.mean_of(pairs, lambda p: gate.sigmoid(abs(p.margin)) - float(p.margin > 0))
    return {
        **evaluation.with_interval("accuracy", accuracy["value"], accuracy["low"], accuracy["high"], accuracy["n"]),
        **dict(zip(("margin", "margin_low", "margin_high"), lead, strict=True)),
        **dict(zip(("overconfidence", "overconfidence_low", "overconfidence_high"), excess, strict=True)),
    }


def flatten(rankings: Sequence[Row]) -> tuple[list[str], list[str]]:
    """(prompts, answers) of all answers of the rankings."""
    return [r["prompt"] for r in rankings for _ in r["answers"]], [text for r in rankings for text in r["answers"]]


def score_texts(work: Work, prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
    """Raw scores, whose differences are log-odds; texts too long are cut as in training."""
    model, limit = work.model, work.limits.tokens
    rows = []
    for prompt, answer in zip(prompts, answers, strict=True):
        start, (end,) = fit(model.prompt_ids(prompt), [model.answer_ids(answer)], limit, keep_end=True)
        rows.append(start + end)
    scores = scores_of(work, rows)
    work.report.alive()
    return scores


def scale_of(scores: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation to bring scores to 0 and 1; a constant score keeps its scale."""
    mean = sum(scores) / len(scores)
    std = (sum((s - mean) ** 2 for s in scores) / len(scores)) ** 0.5
    return {"mean": mean, "std": std if std > 1e-6 else 1.0}


@dataclass(frozen=True)
class Pairs:
    """All pairs of a batch of rankings, as places in its flat list of answers: each tensor is (pairs,).

    `weight` sums to 1 over each ranking; `tie` is 1 where neither of the two is better.
    """

    better: Tensor
    worse: Tensor
    weight: Tensor
    tie: Tensor


def pairs_of(rankings: Sequence[Sequence[int]]) -> Pairs:
    """The pairs of rankings given as the place of each answer, 0 best, equal places tied. Raises ValueError."""
    rows: list[tuple[int, int, float, float]] = []
    start = 0
    for places in rankings:
        if len(places) < 2:
            raise ValueError(f"a comparison needs at least two answers, got {len(places)}")
        pairs = [(i, j) for i in range(len(places)) for j in range(i + 1, len(places))]
        for i, j in pairs:
            if places[i] > places[j]:
                i, j = j, i
            rows.append((start + i, start + j, 1 / len(pairs), float(places[i] == places[j])))
        start += len(places)
    better, worse, weight, tie = zip(*rows, strict=True)
    return Pairs(torch.tensor(better), torch.tensor(worse), torch.tensor(weight), torch.tensor(tie))


def ranking_loss(scores: Tensor, pairs: Pairs) -> Tensor:
    """Mean negative log-likelihood per ranking, in nats; scores (answers,) of the batch -> scalar."""
    margin = scores[pairs.better] - scores[pairs.worse]
    won = -F.logsigmoid(margin)
    loss = torch.lerp(won, (won - F.logsigmoid(-margin)) / 2, pairs.tie)
    return (loss * pairs.weight).sum() / pairs.weight.sum()


def collate(rows: Sequence[dict[str, Any]], pad: int) -> dict[str, Tensor]:
    """A batch of {"answers": token ids of each answer with its prompt, "places"}: all answers, padded on the right."""
    ids, mask = padded([answer for row in rows for answer in row["answers"]], pad)
    pairs = pairs_of([row["places"] for row in rows])
    return {"input_ids": ids, "attention_mask": mask} | asdict(pairs)


class Trainer(trl_trainer.Tracked, RewardTrainer):
    """TRL's RewardTrainer on whole rankings. It knows pairs of equal weight and no ties; the rest is as it was."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset  # token ids already, nothing dropped: TRL would drop what is longer than max_length

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["answers", "places"]  # type: ignore[assignment]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_head(self.work.model.hf.score, Path(resume_from_checkpoint) / "adapter")

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        pairs = Pairs(*(inputs[name] for name in ("better", "worse", "weight", "tie")))
        scores = run(self.work, model, inputs["input_ids"], inputs["attention_mask"])
        loss = ranking_loss(scores, pairs)
        return (loss, {"scores": scores}) if return_outputs else loss


def add_head(hf: Any) -> nn.Linear:
    """Give a causal model a score head [1, hidden] of its own, trainable and part of it; return the head."""
    head = nn.Linear(hidden_width(hf), 1, bias=False, device=hf.device)
    nn.init.normal_(head.weight, std=0.02)
    hf.score = head
    hf.config.num_labels = 1  # TRL asks for it
    return head


def pad_id(tokenizer: Any) -> int:
    """What answers are padded with; any token would do, since nothing looks back from behind the end token."""
    pad: int | None = tokenizer.pad_token_id
    end: int = tokenizer.eos_token_id
    return end if pad is None else pad


def run(work: Work, model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Raw scores (answers,): the head's reading of each row's last token, where its end token stands."""
    last = attention_mask.sum(1) - 1
    states = last_states(work, model, input_ids, attention_mask)
    scores: Tensor = work.model.hf.score(states[torch.arange(len(last), device=last.device), last])
    return scores[:, 0]


def last_states(work: Work, model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """What a head reads, (answers, tokens, hidden) in float32, of the adapter that is trained; padding on the right.

    `model` is what is called: PEFT's, or what a distributed trainer has wrapped around it. A small Llama is not called:
    the forward written by hand is faster, and while it learns it computes in the number format that PPO learns in.
    """
    hf, learns = work.model.hf, work.peft.training
    if llama.why_not(hf) is None and llama.merges(hf) and not (learns and work.args.lora_dropout):
        dtype = llama.number_format(hf.device.type).value if learns else None
        return llama.Llama(hf, POLICY, dtype).hidden(input_ids, llama.packed(attention_mask))
    with last_hidden(hf) as states:  # the language model's own head computes one token only, and nothing uses it
        model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, logits_to_keep=1)
    return states[0].float()


def save_head(head: nn.Linear, folder: Path, scale: dict[str, float] | None = None) -> None:
    """Write beside an adapter what makes it a reward model.

    score_head.safetensors: "score.weight" [1, hidden]; score.json: mean and standard deviation of the scores of the
    training answers, and where the score is read: at the end token.
    """
    save_file({"score.weight": head.weight.detach().cpu().contiguous()}, folder / HEAD)
    (folder / SCALE).write_text(json.dumps((scale or {"mean": 0.0, "std": 1.0}) | {"pooling": "end"}), "utf-8")


def load_head(head: nn.Linear, folder: Path) -> None:
    with torch.no_grad():
        head.weight.copy_(load_file(folder / HEAD)["score.weight"])


@torch.no_grad()
def scores_of(work: Work, answers: Sequence[Sequence[int]], batch_size: int = 64) -> list[float]:
    """Raw scores of token ids [prompt + answer + end token]; neighbours in length run together."""
    was_training, device = work.peft.training, work.model.device
    work.peft.eval()
    result = [0.0] * len(answers)
    order = sorted(range(len(answers)), key=lambda i: len(answers[i]))
    for k in range(0, len(order), batch_size):
        rows = order[k : k + batch_size]
        ids, mask = padded([answers[i] for i in rows], 0)
        for i, value in zip(rows, run(work, work.peft, ids.to(device), mask.to(device)).tolist(), strict=True):
            result[i] = value
        work.report.alive()
    work.peft.train(was_training)
    return result


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask, each (rows, longest), padded on the right."""
    ids = [torch.tensor(row) for row in rows]
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(i) for i in ids], batch_first=True)
    return nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad), mask

"""The process reward as a job: a LoRA and a head that judge every step of an answer wrong, neutral or right.

After Lightman et al. 2023, "Let's Verify Step by Step". Where a step is read, how its judgements become an answer's
score, and how a finished one is used stand in rewards/process_reward_model.py; here it is trained by TRL's loop, kept,
resumed and tested on held-out answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
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

from workbench.collect.steps import split_for, split_of_rows
from workbench.intervals import clustered
from workbench.learn import data, examples
from workbench.learn.catalogue.facts import Row
from workbench.learn.engine import adapter, evaluation, trl_trainer
from workbench.learn.engine.adapter import START
from workbench.learn.engine.work import Work
from workbench.learn.examples import Example
from workbench.learn.methods.reward import last_states, pad_id, padded
from workbench.learn.rewards.files import SCALE, STEP_HEAD
from workbench.learn.rewards.gate import Finding
from workbench.learn.rewards.process_reward_model import ProcessRewardModel
from workbench.models.decoders import hidden_width
from workbench.processes import write_atomic
from workbench.records import LABELS, how_many

Judgement = tuple[Row, list[int]]  # a held-out row, and what each of its steps was judged
CUTS = {"sandbox": "steps of the sandbox", "lines": "lines", "sentences": "sentences", "whole": "one step each"}
FEW = 30  # held-out answers below which a test is not sure


def train(work: Work) -> dict[str, Any]:
    """Train `work.peft` and a head on the labelled steps of `work.train`; return the run's result with its verdict."""
    a, hf = work.args, work.model.hf
    if work.start:
        work.peft.delete_adapter(START)  # a reward has no reference
        work.frozen = adapter.frozen_hash(work.peft)
    head = add_head(hf)
    cut = split(work)
    work.write_beside = lambda folder: save_head(head, folder, cut)
    if work.resume_from is None:
        evaluation.evaluate(work, 0, held_out)
    config = RewardConfig(**trl_trainer.trainer_settings(work), disable_dropout=a.lora_dropout == 0)
    trainer = Trainer(
        model=work.peft,
        args=config,
        train_dataset=in_order(work),
        processing_class=work.model.tokenizer,
        data_collator=partial(collate, pad=pad_id(work.model.tokenizer)),
    )
    result = trl_trainer.run(trainer, work, held_out)
    work.report.status(message="Testing on held-out answers.")
    report = gate(judge(work), work.config.data.simulated)
    write_atomic(work.folder / "gate.json", json.dumps(report, indent=1, allow_nan=False))
    result |= {"verdict": report["verdict"], "reason": report["reason"]}
    if a.final_prompts and work.config.model == "sandbox" and result["steps"] == a.steps:
        work.report.status(message="Choosing the best of 16 answers to held-out word problems.")
        result["best_of_n"] = best_of_n(work)
    return result


def best_of_n(work: Work) -> dict[str, Any]:
    """What choosing by this reward buys on held-out word problems, against a majority vote and one answer."""
    from workbench.measure.best_of_n import on_word_problems

    rewards = ProcessRewardModel(work.model, work.folder)
    reward = work.patiently(rewards.score)
    return on_word_problems(work.model, reward, work.args.final_prompts, should_stop=work.alive)


# What it learns from


def split(work: Work) -> str:
    """How an answer is cut into steps when this reward is used: as most of the training answers were."""
    name, matches = split_of_rows([row["steps"] for row in work.train], split_for(work.config.model))
    if matches < len(work.train):
        work.report.notice(
            f"Answers will be cut into {CUTS[name]}; "
            f"{len(work.train) - matches:,} of {how_many(len(work.train), 'training answers')} were cut otherwise."
        )
    return name


def encoded(one: Example) -> dict[str, Any]:
    """{"ids", "places", "labels" from 0 to 2} of an answer with its prompt; steps that were cut off have no label."""
    n = len(one.prompt)
    return {
        "ids": one.prompt + one.answers["completion"],
        "places": [n + place for place in one.places],
        "labels": [LABELS.index(label) for label in one.row["labels"][: len(one.places)]],
    }


def in_order(work: Work) -> Dataset:
    """Every example in the order of training; `share` makes every step of a batch count the same, however the batch is
    cut up: the number of its parts by the number of its steps."""
    a = work.args
    order = data.order(work.train, a.steps * a.batch_size, a.seed)
    answers = [encoded(one) for one in work.examples]
    parts, rows = a.batch_size // a.micro_batch, []
    for k in range(0, len(order), a.batch_size):
        batch = [answers[i] for i in order[k : k + a.batch_size]]
        share = parts / sum(len(answer["labels"]) for answer in batch)
        rows += [answer | {"share": share} for answer in batch]
    return Dataset.from_list(rows)


def collate(rows: Sequence[dict[str, Any]], pad: int) -> dict[str, Tensor]:
    """A batch: token ids and mask (answers, longest); row, place, rating and share (steps,) of all steps."""
    ids, mask = padded([row["ids"] for row in rows], pad)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "row": torch.tensor([i for i, row in enumerate(rows) for _ in row["places"]]),
        "place": torch.tensor([place for row in rows for place in row["places"]]),
        "rating": torch.tensor([label for row in rows for label in row["labels"]]),
        "share": torch.tensor([row["share"] for row in rows for _ in row["labels"]]),
    }


# The model


class Trainer(trl_trainer.Tracked, RewardTrainer):
    """TRL's RewardTrainer with cross entropy over steps in place of its loss over pairs."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset  # token ids already

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["ids", "places", "labels", "share"]  # type: ignore[assignment]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        weights = load_file(Path(resume_from_checkpoint) / "adapter" / STEP_HEAD)
        self.work.model.hf.score.load_state_dict({k.removeprefix("score."): v for k, v in weights.items()})

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        logits = run(self.work, model, inputs)
        loss = (F.cross_entropy(logits, inputs["rating"], reduction="none") * inputs["share"]).sum()
        return (loss, {"logits": logits}) if return_outputs else loss


def add_head(hf: Any) -> nn.Linear:
    """Give a causal model a trainable head of its own, [3, hidden] with biases; return it."""
    head = nn.Linear(hidden_width(hf), len(LABELS), device=hf.device)
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    hf.score = head
    hf.config.num_labels = 1  # TRL asks for it
    return head


def run(work: Work, model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Logits (steps, 3) of wrong, neutral, right, read at each step's place in a batch as from `collate`."""
    states = last_states(work, model, batch["input_ids"], batch["attention_mask"])
    logits: Tensor = work.model.hf.score(states[batch["row"], batch["place"]])
    return logits


def save_head(head: nn.Linear, folder: Path, cut: str) -> None:
    """Write beside an adapter what makes it a process reward: its head, and how an answer is cut into steps."""
    weights = {f"score.{k}": v.detach().cpu().contiguous() for k, v in head.state_dict().items()}
    save_file(weights, folder / STEP_HEAD)
    (folder / SCALE).write_text(json.dumps({"mean": 0.0, "std": 1.0, "pooling": "steps", "split": cut}), "utf-8")


# Held-out answers


@torch.no_grad()
def judge(work: Work, batch_size: int = 64) -> list[Judgement]:
    """What each step of the held-out answers is judged: the likeliest of -1, 0, 1."""
    answers, _ = examples.examples(work.model.tokenizer, work.method, work.heldout, work.limits)
    hf, was_training = work.model.hf, work.peft.training
    work.peft.eval()
    judgements: list[Judgement] = []
    for k in range(0, len(answers), batch_size):
        chunk = answers[k : k + batch_size]
        rows = [encoded(one) | {"share": 1.0} for one in chunk]
        batch = {name: tensor.to(hf.device) for name, tensor in collate(rows, 0).items()}
        best = iter(run(work, work.peft, batch).argmax(1).tolist())
        judgements += [(one.row, [LABELS[next(best)] for _ in one.places]) for one in chunk]
        work.report.alive()
    work.peft.train(was_training)
    return judgements


def held_out(work: Work, step: int) -> dict[str, Any]:
    """Held-out steps judged right, and answers judged right as a whole, each with its interval over prompts."""
    if not work.heldout:
        return {}
    judgements = judge(work)
    return evaluation.with_interval("accuracy", *steps_right(judgements)) | evaluation.with_interval(
        "answers", *answers_right(judgements)
    )


def sound(labels: Sequence[int]) -> bool:
    """Whether an answer is right as a whole: no step is wrong, and some step is right."""
    return -1 not in labels and 1 in labels


def steps_right(judgements: Sequence[Judgement]) -> tuple[float, float, float, int]:
    """Share of steps judged as labelled, its interval, and how many steps there are."""
    return _share(
        judgements, lambda row, predictions: [a == b for a, b in zip(row["labels"], predictions, strict=False)]
    )


def answers_right(judgements: Sequence[Judgement]) -> tuple[float, float, float, int]:
    """Share of answers judged right or wrong as a whole as their labels say, its interval, and how many there are."""
    return _share(judgements, lambda row, predictions: [sound(row["labels"][: len(predictions)]) == sound(predictions)])


def _share(
    judgements: Sequence[Judgement], hits: Callable[[Row, list[int]], list[bool]]
) -> tuple[float, float, float, int]:
    groups: dict[str, list[bool]] = {}
    for row, predictions in judgements:
        groups.setdefault(row["prompt"], []).extend(hits(row, predictions))
    share, low, high, n = clustered([sum(some) for some in groups.values()], [len(some) for some in groups.values()])
    return share, low, high, round(n)


# Is it good enough?


def gate(judgements: Sequence[Judgement], simulated: int) -> dict[str, Any]:
    """The verdict as plain JSON in the shape of gate.judge: "verdict", "reason", "helps", "findings", "accuracy",
    "n", and how many of the answers behind it are "simulated"."""
    labels = [label for row, predictions in judgements for label in row["labels"][: len(predictions)]]
    soundness = [sound(row["labels"][: len(predictions)]) for row, predictions in judgements]
    findings = [
        _finding("answers", answers_right(judgements) if judgements else None, soundness, "whole held-out answers"),
        _finding("steps", steps_right(judgements) if judgements else None, labels, "held-out steps"),
    ]
    worst = next((level for level in ("red", "amber") if any(f.level == level for f in findings)), "green")
    reasons = [f for f in findings if f.level == worst]
    first = findings[0]
    return {
        "verdict": worst,
        "reason": " ".join(dict.fromkeys(f.says for f in reasons)),
        "helps": " ".join(dict.fromkeys(f.helps for f in reasons if f.helps)),
        "findings": [asdict(f) for f in findings],
        "accuracy": {"value": first.value, "low": first.low, "high": first.high, "n": first.n},
        "simulated": simulated,
        "n": len(judgements),
    }


def _finding(check: str, share: tuple[float, float, float, int] | None, labels: Sequence[Any], what: str) -> Finding:
    """Red where saying the commonest label every time might do as well, amber where that is all that is sure."""
    more = "Label the steps of more answers."
    if share is None:
        return Finding(check, "red", "There are no held-out answers with labelled steps to test it on.", more)
    value, low, high, n = share
    guess = max(labels.count(label) for label in set(labels)) / len(labels)
    says = f"It judges {100 * value:.0f} % ({100 * low:.0f} to {100 * high:.0f}) of {how_many(n, what)} correctly"
    figures: dict[str, Any] = {"value": value, "low": low, "high": high, "n": n}
    if low <= guess:
        return Finding(
            check, "red", f"{says}; always giving the commonest label would reach {100 * guess:.0f} %.", more, **figures
        )
    if value < 0.8:
        return Finding(check, "amber", f"{says}: weak.", more, **figures)
    if n < FEW:
        return Finding(check, "amber", f"{says}: too few to be sure.", more, **figures)
    return Finding(check, "green", f"{says}.", "", **figures)

"""The process reward: every step of an answer is judged wrong, neutral or right, and the answer by its steps.

After Lightman et al. 2023, "Let's Verify Step by Step": trained on steps labelled -1 / 0 / +1, read at each step's last
token; an answer's score is the probability that its worst step is not wrong and that some step is right.
With one step per answer, the answer as a whole, the same code trains an outcome reward (Cobbe et al. 2021), to compare
with.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workbench.collect.steps import SPLITS, split_for
from workbench.learn import llama
from workbench.learn.actor_critic import number_format
from workbench.learn.score import SCALE
from workbench.models import Model, ModelError
from workbench.processes import read_json, write_atomic
from workbench.records import LABELS

HEAD = "step_head.safetensors"
POLICY = "default"


@dataclass(frozen=True)
class Steps:
    """A labelled answer: the steps' texts, joined the answer, and -1 (wrong), 0 (neutral) or 1 (right) for each."""

    prompt: str
    steps: tuple[str, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ProcessRewardArgs:
    """How a process reward is trained. `warmup` is a share of the steps; the rate then falls linearly to zero."""

    steps: int = 200
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup: float = 0.05
    lora_rank: int = 16
    lora_alpha: int = 32
    max_grad_norm: float = 1.0
    seed: int = 0


def whole(rows: Sequence[Steps], right: Sequence[bool]) -> list[Steps]:
    """The same answers labelled as a whole, for an outcome reward."""
    return [Steps(r.prompt, ("".join(r.steps),), (1 if ok else -1,)) for r, ok in zip(rows, right, strict=True)]


def encode(model: Model, prompt: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
    """(token ids of prompt, answer and end token; the place at which each step is read).

    A step is read at its last token, the last step at the end token, where it is seen that the answer stops.
    """
    start, words = model.prompt_ids(prompt), model.tokenizer
    found = words("".join(steps), add_special_tokens=False, return_offsets_mapping=True)
    begins = [begin for begin, _ in found["offset_mapping"]]
    places, end = [], 0
    for step in steps[:-1]:
        end += len(step)
        inside = sum(begin < end for begin in begins)
        places.append(len(start) + max(inside - 1, 0))
    ids = [*start, *found["input_ids"], words.eos_token_id]
    return ids, [*places, len(ids) - 1]


def train(
    model: Model,
    rows: Sequence[Steps],
    folder: Path,
    args: ProcessRewardArgs | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> ProcessRewardModel:
    """Train a LoRA and a head on labelled steps, save both as the run folder `folder`, and return the model.

    Cross entropy over all steps of a batch; `on_step(step, loss)`. The model's own weights stay as they are and the
    adapter is taken off it again. Raises ValueError for no rows, a label that is none, or steps and labels that do not
    match, naming the row.
    """
    args = args or ProcessRewardArgs()
    _check(rows)
    torch.manual_seed(args.seed)
    config = LoraConfig(
        r=args.lora_rank, lora_alpha=args.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    if model.peft is not None:
        raise ModelError("a process reward is trained on a base without adapters: load the model anew")
    peft = get_peft_model(model.hf, config, adapter_name=POLICY)
    head = nn.Linear(model.hf.config.get_text_config().hidden_size, len(LABELS), device=model.device)
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    weights = [*(p for p in peft.parameters() if p.requires_grad), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=args.learning_rate, weight_decay=0.0)
    examples = [(*encode(model, r.prompt, r.steps), [LABELS.index(label) for label in r.labels]) for r in rows]
    order = _order(len(examples), args)
    rising = max(1, round(args.warmup * args.steps))
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = args.learning_rate * min(1, (step + 1) / rising) * (1 - step / args.steps)
        batch = [examples[i] for i in order[step * args.batch_size : (step + 1) * args.batch_size]]
        logits = head(_read(model, peft, [b[0] for b in batch], [b[1] for b in batch]))
        loss = F.cross_entropy(logits, torch.tensor([c for b in batch for c in b[2]], device=model.device))
        if not torch.isfinite(loss):
            raise ArithmeticError(f"step {step} gave no valid number; try a smaller learning rate")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, args.max_grad_norm)
        optimizer.step()
        if on_step:
            on_step(step + 1, loss.item())
    _save(model, peft, head, folder, args)
    peft.unload()
    return ProcessRewardModel(model, folder)


def _check(rows: Sequence[Steps]) -> None:
    if not rows:
        raise ValueError("there are no labelled steps to learn from")
    for i, row in enumerate(rows, 1):
        if len(row.steps) != len(row.labels) or not row.steps:
            raise ValueError(f"row {i}: {len(row.steps)} steps, but {len(row.labels)} labels")
        if any(label not in LABELS for label in row.labels):
            raise ValueError(f"row {i}: labels must be -1, 0 or 1, not {list(row.labels)}")


def _order(n: int, args: ProcessRewardArgs) -> list[int]:
    rng = random.Random(args.seed)
    order: list[int] = []
    while len(order) < args.steps * args.batch_size:
        order += rng.sample(range(n), n)
    return order


def _read(model: Model, peft: Any, rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> Tensor:
    """Last hidden states at the places of all rows, one after the other: (places, hidden), float32."""
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(model.device)
    if llama.why_not(model.hf) is None:
        hidden = llama.Llama(model.hf, POLICY, number_format(model.device.type).value).hidden(ids)
    else:
        caught: list[Tensor] = []
        hook = model.hf.base_model.register_forward_hook(lambda *of: caught.append(of[2].last_hidden_state))
        try:
            peft(input_ids=ids, use_cache=False, logits_to_keep=1)  # padding stands behind, where nothing looks
        finally:
            hook.remove()
        hidden = caught[0]
    row = torch.tensor([i for i, some in enumerate(places) for _ in some], device=model.device)
    place = torch.tensor([p for some in places for p in some], device=model.device)
    return hidden[row, place].float()


def _save(model: Model, peft: Any, head: nn.Linear, folder: Path, args: ProcessRewardArgs) -> None:
    adapter = folder / "adapter"
    adapter.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(peft, adapter_name=POLICY, save_embedding_layers=False)
    save_file({k: v.contiguous() for k, v in state.items()}, adapter / "adapter_model.safetensors", {"format": "pt"})
    config = peft.peft_config[POLICY]
    config.base_model_name_or_path, config.inference_mode = model.name, True
    config.save_pretrained(str(adapter))
    save_file({f"score.{k}": v.contiguous() for k, v in head.state_dict().items()}, adapter / HEAD)
    write_atomic(adapter / SCALE, json.dumps({"mean": 0.0, "std": 1.0, "pooling": "steps"}))
    config_file = folder / "config.json"
    if not config_file.is_file():
        write_atomic(
            config_file, json.dumps({"method": "process_reward", "model": model.name, "args": asdict(args)}, indent=1)
        )


class ProcessRewardModel:
    """A trained process reward on a base that other adapters share.

    `split` cuts an answer into steps as the training steps were cut; its parts joined must be the answer.
    """

    def __init__(self, model: Model, run_folder: str | Path, split: Callable[[str], list[str]] | None = None) -> None:
        folder = Path(run_folder) / "adapter"
        if not (folder / HEAD).is_file():
            raise ModelError(f"{run_folder} holds no process reward: there is no {HEAD} in it")
        named = read_json(folder / SCALE).get("split", split_for(model.name))
        self.model, self.split = model, split or SPLITS[named]
        self.adapter = model.attach(folder)
        head = load_file(folder / HEAD)
        self.weight, self.bias = (head[f"score.{k}"].to(model.device) for k in ("weight", "bias"))

    def steps(self, prompts: Sequence[str], answers: Sequence[str]) -> list[list[tuple[str, tuple[float, ...]]]]:
        """For each answer its steps, each with the probabilities that it is wrong, neutral, right."""
        cut = [self.split(answer) or [""] for answer in answers]
        return [list(zip(s, p, strict=True)) for s, p in zip(cut, self._probabilities(prompts, cut), strict=True)]

    def score(self, prompts: Sequence[str], answers: Sequence[str], how: str = "min") -> list[float]:
        """One score per answer: the log-probability that its worst step is not wrong ("min", which measured better) or
        that no step is ("product", the paper's); and, with either, that some step is right, or saying nothing would
        score best."""
        if how not in ("product", "min"):
            raise ValueError(f"how must be product or min, not {how!r}")
        cut = [self.split(answer) or [""] for answer in answers]
        return [sum(answer_score(steps, how)) for steps in self._probabilities(prompts, cut)]

    def outcome(self, prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
        """The log-odds that the answer as a whole is right, for a model trained on `whole` answers."""
        found = self._probabilities(prompts, [[answer] for answer in answers])
        return [math.log(max(p[-1][2], 1e-9)) - math.log(max(p[-1][0], 1e-9)) for p in found]

    def _probabilities(self, prompts: Sequence[str], cut: Sequence[Sequence[str]]) -> list[list[tuple[float, ...]]]:
        if len(prompts) != len(cut):
            raise ValueError(f"{len(prompts)} prompts, but {len(cut)} answers")
        encoded = [encode(self.model, p, steps) for p, steps in zip(prompts, cut, strict=True)]
        result: list[list[tuple[float, ...]]] = [[] for _ in encoded]
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i][0]))
        for k in range(0, len(order), 64):
            some = order[k : k + 64]
            states = self._hidden([encoded[i][0] for i in some], [encoded[i][1] for i in some])
            found = iter(F.linear(states, self.weight, self.bias).softmax(-1).tolist())
            for i in some:
                result[i] = [tuple(next(found)) for _ in encoded[i][1]]
        return result

    @torch.inference_mode()
    def _hidden(self, rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> Tensor:
        from workbench.decoders import forward

        ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(self.model.device)
        with self.model.lock:
            if llama.why_not(self.model.hf) is None:
                hidden = llama.Llama(self.model.hf, self.adapter).hidden(ids)
            else:
                caught: list[Tensor] = []
                base = self.model.hf.base_model
                hook = base.register_forward_hook(lambda *of: caught.append(of[2].last_hidden_state))
                try:
                    forward(
                        self.model,
                        [(self.adapter, 1.0)] * len(rows),
                        input_ids=ids,
                        use_cache=False,
                        logits_to_keep=1,
                    )
                finally:
                    hook.remove()
                hidden = caught[0]
        row = torch.tensor([i for i, some in enumerate(places) for _ in some], device=self.model.device)
        place = torch.tensor([p for some in places for p in some], device=self.model.device)
        return hidden[row, place].float()


def answer_score(steps: Sequence[Sequence[float]], how: str = "min") -> tuple[float, float]:
    """(log P(the worst step is not wrong), log P(some step is right)) from each step's P(wrong), P(neutral), P(right);
    "product" takes no step wrong, all as if independent, for the first."""
    sound = [math.log(max(1 - p[0], 1e-9)) for p in steps]
    nothing = math.prod(1 - p[2] for p in steps)
    return (sum(sound) if how == "product" else min(sound)), math.log(max(1 - nothing, 1e-9))

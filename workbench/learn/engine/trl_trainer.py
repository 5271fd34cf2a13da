"""`Tracked`, mixed into TRL's trainers: every step reported, bad steps rejected, stop and resume without a pickle."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import PrinterCallback, TrainerCallback

from workbench.learn.catalogue import TrainArgs
from workbench.learn.engine import evaluation, saving
from workbench.learn.engine.adapter import POLICY, START
from workbench.learn.engine.evaluation import Metrics, no_metrics
from workbench.learn.engine.reporter import NOT_FINITE_IN_A_ROW, NotFinite
from workbench.learn.engine.work import Work
from workbench.memory import recomputes

# TRL's names of what it logs -> ours
METRIC_NAMES = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "rewards/chosen": "rewards_chosen",
    "rewards/rejected": "rewards_rejected",
    "rewards/margins": "margin",
    "rewards/accuracies": "train_accuracy",
    "mean_token_accuracy": "token_accuracy",
    "entropy": "entropy",
    "step_time": "seconds_round",
}


class Tracked:
    """Mixed in before the trainer's class. `track` must be called once before `train`."""

    work: Work
    adds: Mapping[str, str] = {}  # what a trainer of our own logs besides: its name in the log -> in metrics.jsonl
    bad = False  # this step gave no valid number
    cause = ""  # of that, where it is known: see NotFinite
    bad_in_a_row = 0
    idle = ""  # why there is nothing to learn from in this step: it makes no update then
    idle_steps = 0

    def track(self, work: Work, method_metrics: Metrics) -> None:
        self.work = work
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]
        self.add_callback(TrackingCallback(self, work, method_metrics))  # type: ignore[attr-defined]

    # Steps without a valid number

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.work.report.alive()
        loss: torch.Tensor = super().training_step(*args, **kwargs)  # type: ignore[misc]
        self.work.report.alive()
        if not torch.isfinite(loss):
            self.bad = True
        return loss

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        if not torch.isfinite(torch.as_tensor(norm)):
            self.bad = True
        return norm

    # Checkpoints: the format of checkpoints.py instead of transformers' pickles

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        optimizer = self.optimizer.state_dict()  # type: ignore[attr-defined]
        tensors = {
            f"{i}.{key}": torch.as_tensor(value)
            for i, state in optimizer["state"].items()
            for key, value in state.items()
        }
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        version, inner, gauss = random.getstate()
        name, keys, *rest = np.random.get_state()
        state = {
            "groups": optimizer["param_groups"],
            "schedule": self.lr_scheduler.state_dict(),  # type: ignore[attr-defined]
            "python": [version, list(inner), gauss],
            "numpy": [name, np.asarray(keys).tolist(), *rest],
        }
        trainer_state = self.state  # type: ignore[attr-defined]
        saving.save_checkpoint(
            self.work,
            trainer_state.global_step,
            tensors,
            state,
            lambda fresh: trainer_state.save_to_json(str(fresh / "trainer_state.json")),
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        from peft import set_peft_model_state_dict

        weights = load_file(Path(resume_from_checkpoint) / "adapter" / "adapter_model.safetensors")
        set_peft_model_state_dict(self.work.peft, weights, adapter_name=POLICY)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        record = json.loads((Path(checkpoint) / "state.json").read_text("utf-8"))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in load_file(Path(checkpoint) / "optimizer.safetensors").items():
            i, _, key = name.partition(".")
            if i != "random":
                state.setdefault(int(i), {})[key] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": record["groups"]})  # type: ignore[attr-defined]
        self.lr_scheduler.load_state_dict(record["schedule"])  # type: ignore[attr-defined]

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        record = json.loads((Path(checkpoint) / "state.json").read_text("utf-8"))
        version, inner, gauss = record["python"]
        random.setstate((version, tuple(inner), gauss))
        name, keys, *rest = record["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        tensors = load_file(Path(checkpoint) / "optimizer.safetensors")
        torch.set_rng_state(tensors["random.cpu"])
        if torch.cuda.is_available() and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])


class TrackingCallback(TrainerCallback):
    """Reports each step, looks at held-out examples every so often, keeps checkpoints, and stops when asked to."""

    def __init__(self, trainer: Tracked, work: Work, method_metrics: Metrics) -> None:
        self.trainer, self.work, self.method_metrics = trainer, work, method_metrics
        self.pause = 0.0  # seconds in looks and checkpoints since training began, which are not training
        self.start = time.monotonic()
        self.seconds_before = work.trained_for

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.start = time.monotonic()
        steps = self.work.args.steps
        self.work.report.status(state="running", step=state.global_step, steps=steps, message="")

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.bad or self.trainer.idle:
            for weight in self.work.peft.parameters():
                weight.grad = None  # the optimizer then leaves weights and moments alone

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        state.log_history.clear()  # grows without end otherwise
        if not logs or "loss" not in logs:
            return
        work, report, step = self.work, self.work.report, state.global_step
        report.alive()
        work.trained_for = self.seconds_before + time.monotonic() - self.start - self.pause
        if self.trainer.bad:
            self._reject(step)
        else:
            self.trainer.bad_in_a_row, self.trainer.cause = 0, ""
            names = {**METRIC_NAMES, **self.trainer.adds}
            report.metrics(step, **{ours: logs[name] for name, ours in names.items() if name in logs})
            print(f"step {step}  loss {logs['loss']:.4f}  learning rate {logs['learning_rate']:.3g}", flush=True)
        self._report_idle(step)
        steps, a = work.args.steps, work.args
        last, stopping = step == steps, report.wants_stop()
        per_step = (time.monotonic() - self.start) / max(1, step - work.first_step)
        report.status(now=last, step=step, steps=steps, eta_s=round(per_step * (steps - step), 1))
        pause_start = time.monotonic()
        if last or stopping or step % a.evaluate_every == 0:
            evaluation.evaluate(work, step, self.method_metrics)
        if last or stopping or step % a.checkpoint_every == 0:
            self.trainer._save_checkpoint(None, None)
        if stopping:
            control.should_training_stop = True
        self.pause += time.monotonic() - pause_start

    def _report_idle(self, step: int) -> None:
        if self.trainer.idle and not self.trainer.idle_steps:  # once: a reward may stay so for all steps
            self.work.report.notice(f"Step {step} made no update: {self.trainer.idle}")
        self.trainer.idle_steps += bool(self.trainer.idle)
        self.trainer.idle = ""

    def _reject(self, step: int) -> None:
        self.work.report.metrics(step, rejected=True)
        self.work.report.notice(f"Step {step} gave no valid number and was skipped.")
        self.trainer.bad = False
        self.trainer.bad_in_a_row += 1
        if self.trainer.bad_in_a_row >= NOT_FINITE_IN_A_ROW:
            cause = self.trainer.cause or evaluation.not_finite_cause(self.work)
            raise NotFinite(f"no valid number in {NOT_FINITE_IN_A_ROW} steps in a row", cause)


@contextmanager
def reference(work: Work, copies: bool = True) -> Iterator[None]:
    """Around the making of a TRL trainer, which where it `copies` keeps its reference as a frozen adapter of START's name
    and, for a run that starts from another, of its values. From the base that copy is thrown away: turning the adapter
    off is the same and costs nothing."""
    if work.start and copies:
        work.peft.delete_adapter(START)
    yield
    if not work.start and copies:
        work.peft.delete_adapter(START)


def run(trainer: Any, work: Work, method_metrics: Metrics = no_metrics) -> dict[str, Any]:
    """Train from the start or from the checkpoint, and return the result of the run."""
    trainer.track(work, method_metrics)
    trainer.train(resume_from_checkpoint=str(work.resume_from) if work.resume_from else None)
    if trainer.idle_steps > 1:
        work.report.notice(f"{trainer.idle_steps:,} steps made no update, all for this reason.")
    return evaluation.finish(work)


def trainer_settings(work: Work) -> dict[str, Any]:
    """Arguments that TRL's configs share; trl's own defaults (bf16, telemetry, logging every 10) do not suit us."""
    a: TrainArgs = work.args
    on_gpu = work.model.device.type == "cuda"
    weights = sum(p.numel() for p in work.model.hf.parameters())
    return {
        "output_dir": str(work.folder),
        "max_steps": a.steps,
        "per_device_train_batch_size": a.micro_batch,
        "gradient_accumulation_steps": a.batch_size // (a.micro_batch or a.batch_size),
        "learning_rate": a.learning_rate,
        "lr_scheduler_type": a.schedule,
        "warmup_steps": round(a.warmup * a.steps),
        "weight_decay": a.weight_decay,
        "max_grad_norm": a.max_grad_norm,
        "max_length": a.max_tokens,
        "seed": a.seed,
        "train_sampling_strategy": "sequential",  # the order of the rows is ours, see data.order
        "logging_steps": 1,
        "save_strategy": "no",  # checkpoints are ours too
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": False,  # the base keeps its own format, the adapter is float32
        "use_cpu": not on_gpu and work.model.device.type == "cpu",
        "gradient_checkpointing": recomputes(weights, on_gpu),
        "dataloader_pin_memory": on_gpu,
    }

"""Run folders as reward jobs would have left them, without a job: for tests of what the page makes of a verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workbench.jobs import prepare
from workbench.jobs.runs import Run
from workbench.learn.catalogue import parse
from workbench.processes import write_status

SAYS = {
    "green": "It agrees with 88 % (84 to 91) of 300 held-out pairs.",
    "amber": "It agrees with 61 % (55 to 67) of 300 held-out pairs: weak.",
    "red": "It agrees with 52 % (46 to 58) of 300 held-out pairs: this may be guessing.",
}


def gate(level: str) -> dict[str, Any]:
    """A gate.json with one check of that level and one that could not be made."""
    figures = {"value": 0.88, "low": 0.84, "high": 0.91, "n": 300}
    helps = "" if level == "green" else "Rank more pairs."
    first = {"check": "accuracy", "level": level, "says": SAYS[level], "helps": helps} | figures
    unknown = {"check": "consistency", "level": "unknown", "says": "No two answers were judged twice.",
               "helps": "Let two people rank the same pairs.", "value": None, "low": None, "high": None, "n": 0}  # fmt: skip
    return {"verdict": level, "reason": SAYS[level], "helps": helps, "findings": [first, unknown], "accuracy": figures,
            "calibration": {}, "consistency": {}, "length": {}, "adversarial": {}, "simulated": 0, "n": 300}  # fmt: skip


def folder(
    workspace: Path, number: int = 1, level: str | None = "green", model: str = "sandbox", method: str = "reward"
) -> Path:
    """A finished reward run, its weights left out; `level` None: it never came to its test."""
    run_folder = workspace / "runs" / f"{number:04d}-{method}"
    (run_folder / "adapter").mkdir(parents=True)
    data = {"n": 500, "train": 430, "heldout": 70, "simulated": 0, "unit": "comparisons", "hash": "0"}
    config = {"number": number, "method": method, "model": model, "parent": None, "args": {"steps": 80}, "data": data,
              "preset": "normal", "created": "2026-01-01T00:00:00+00:00", "reasons": {}}  # fmt: skip
    (run_folder / "config.json").write_text(json.dumps(config))
    for name in ("score.json", "adapter_model.safetensors", "score_head.safetensors"):
        (run_folder / "adapter" / name).write_text("{}")
    if level:
        (run_folder / "gate.json").write_text(json.dumps(gate(level)))
        (run_folder / "result.json").write_text(json.dumps({"accuracy": 0.88, "accuracy_low": 0.84, "accuracy_high": 0.91,
                                                      "accuracy_n": 300, "verdict": level, "reason": SAYS[level]}))  # fmt: skip
    state = {"state": "done", "seconds": 50} if level else {"state": "stopped", "message": "Stopped at step 38."}
    write_status(run_folder, step=80 if level else 38, steps=80, **state)
    return run_folder


def ppo(settings, store, **say) -> Run:
    """A PPO run prepared on the newest reward model."""
    return prepare.prepare_run(settings, store, "ppo", parse("ppo", {}, "quick"), **say)


def weights(run_folder: Path, base: Path, seed: int = 0) -> Path:
    """Random weights for such a folder: a LoRA on `base` and a score head."""
    import torch
    from safetensors.torch import save_file

    from tests import tiny_model

    tiny_model.adapter(base, run_folder / "adapter", seed)
    hidden = json.loads((base / "config.json").read_text())["hidden_size"]
    head = torch.randn(1, hidden, generator=torch.Generator().manual_seed(seed))
    save_file({"score.weight": head}, run_folder / "adapter" / "score_head.safetensors")
    (run_folder / "adapter" / "score.json").write_text(json.dumps({"mean": 0.0, "std": 10.0, "pooling": "end"}))
    return run_folder


def step_weights(run_folder: Path, base: Path, seed: int = 0) -> Path:
    """Random weights for the folder of a process reward that cuts answers into sentences, and one held-out answer."""
    import torch

    from tests import tiny_model
    from workbench.learn.methods import prm

    tiny_model.adapter(base, run_folder / "adapter", seed)
    torch.manual_seed(seed)
    head = torch.nn.Linear(json.loads((base / "config.json").read_text())["hidden_size"], 3)
    prm.save_head(head, run_folder / "adapter", "sentences")
    (run_folder / "adapter" / "score_head.safetensors").unlink(missing_ok=True)
    row = {"prompt": "What is 2 + 2?", "steps": ["4."], "labels": [1], "split": "heldout", "id": 1}
    (run_folder / "data").mkdir(exist_ok=True)
    for name, text in (("train.jsonl", ""), ("heldout.jsonl", json.dumps(row)), ("prompts.json", "{}")):
        (run_folder / "data" / name).write_text(text)
    return run_folder

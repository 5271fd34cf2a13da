"""What our jobs cost over the bare TRL trainer: steps per second of SFT, DPO and the reward model, in one run.

The goal: at least .97 of bare TRL. Reached on two quiet Intel cores, wall time: best of 3: SFT 1.029, DPO 1.024, the
reward model, which runs through the forward written by hand, 1.449. Both learn from the same rows in the same
order, with the same LoRA, batch and settings; ours also tells every step (metrics.jsonl, status.json, heartbeat), watches for numbers that are not finite,
and rules for stopping. Looks at held-out examples and checkpoints are left out: bare TRL makes none. Both sides are run
in turn, and the fastest of the repeats counts. `--clock cpu` counts this process's CPU time, for a machine that is busy.

    python -m benchmarks.overhead [--methods sft dpo reward] [--steps 40] [--repeats 6] [--clock cpu] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Clock = Callable[[], float]


def workspace(folder: Path, n: int = 200) -> tuple[Any, Any]:
    """A workspace with n scripted demonstrations and n comparisons of scripted answers: only the time matters."""
    import random

    from workbench import settings
    from workbench.records import Response
    from workbench.sandbox import world
    from workbench.sandbox.answers import answer
    from workbench.store import Store

    options = settings.load(folder)
    folder.mkdir(parents=True, exist_ok=True)
    store, rng = Store(options.database), random.Random(0)
    drawn = world.sample(n, "train", seed=0)
    for question, prompt in zip(drawn, store.add_prompts([p.text for p in drawn], "sandbox"), strict=True):
        texts = [answer(question, style, rng) for style in ("helpful", "rambling")]
        store.add_demonstration(prompt.id, texts[0], "scripted", simulated=True)
        pair = store.add_responses([Response(0, prompt.id, text, "scripted") for text in texts])
        ids = [r.id for r in pair]
        store.add_comparison(prompt.id, pair, [[ids[0]], [ids[1]]], ids, "scripted", simulated=True)
    return options, store


def opened(options: Any, store: Any, method: str, steps: int) -> Any:
    """A prepared run as its job opens it, without looks at held-out examples."""
    from workbench.jobs import control, prepare
    from workbench.learn.catalogue import parse
    from workbench.learn.engine.reporter import Reporter
    from workbench.learn.engine.work import Work

    run = prepare.prepare_run(options, store, method, parse(method, {"steps": steps, "held_out": 0}))
    control.write_status(run.folder, state="done")  # it is opened here, not by a job of its own
    return Work.open(run, Reporter(run.folder))


def ours(work: Any, clock: Clock) -> float:
    """Seconds our trainer takes from the first to the last step."""
    from workbench.learn.engine import evaluation, trl_trainer
    from workbench.learn.methods import method_module

    spent: list[float] = []

    def run(trainer: Any, work: Any, metrics: Any) -> dict[str, Any]:
        trainer.track(work, metrics)
        spent.append(timed(trainer, clock))
        return {}

    skip = (
        patch.object(evaluation, "evaluate", lambda *_: None),
        patch.object(trl_trainer.Tracked, "_save_checkpoint", _nothing),
    )
    with skip[0], skip[1], patch.object(trl_trainer, "run", run):
        method_module(work.method).train(work)
    return spent[0]


def _nothing(*_: Any) -> None:
    return None


def bare(work: Any, clock: Clock) -> float:
    """Seconds TRL's own trainer takes for the same."""
    import trl

    from workbench.learn import data
    from workbench.learn.engine import trl_trainer
    from workbench.learn.engine.adapter import START
    from workbench.learn.methods import dpo, sft

    settings, tokenizer, a = trl_trainer.trainer_settings(work), work.model.tokenizer, work.args
    method = work.method
    if method == "sft":
        config = trl.SFTConfig(**settings, completion_only_loss=True, dataset_kwargs={"skip_prepare_dataset": True})
        trainer = trl.SFTTrainer(model=work.peft, args=config, train_dataset=sft.rows(work), processing_class=tokenizer)
    elif method == "dpo":

        class Bare(trl.DPOTrainer):
            def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
                return dataset  # token ids already, as with ours

        config = trl.DPOConfig(**settings, beta=a.beta, loss_type=[a.loss])
        trainer = Bare(model=work.peft, args=config, train_dataset=dpo.rows(work), processing_class=tokenizer)
        work.peft.delete_adapter(START)
    else:
        trainer = _bare_reward(work, settings, data.order(work.train, a.steps * a.batch_size, a.seed))
    return timed(trainer, clock)


def _bare_reward(work: Any, settings: dict[str, Any], order: list[int]) -> Any:
    """TRL's RewardTrainer as its documentation has it: a sequence classifier, its LoRA, pairs."""
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForSequenceClassification

    from workbench.learn.methods import reward
    from workbench.settings import model_path

    pairs = [
        {
            f"{'chosen' if place == 0 else 'rejected'}_ids": ids
            for ids, place in zip(reward.sequences(one), one.row["places"], strict=True)
        }
        for one in work.examples
    ]
    folder = str(model_path(work.config.model))
    import torch

    hf = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    hf.requires_grad_(False)
    lora = LoraConfig(
        r=work.args.lora_rank, lora_alpha=work.args.lora_alpha, target_modules="all-linear", task_type="SEQ_CLS"
    )
    return trl.RewardTrainer(
        model=hf,
        args=trl.RewardConfig(**settings),
        train_dataset=Dataset.from_list(pairs).select(order),
        processing_class=work.model.tokenizer,
        peft_config=lora,
    )


def timed(trainer: Any, clock: Clock) -> float:
    """Seconds from the end of the first step to the end of the last: what comes before is the same for both."""
    from transformers import TrainerCallback

    ends: list[float] = []

    class Times(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(clock())

    trainer.add_callback(Times())
    trainer.train()
    return ends[-1] - ends[0]


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--methods", nargs="+", default=["sft", "dpo", "reward"])
    p.add_argument("--steps", type=int, default=40)
    p.add_argument("--repeats", type=int, default=6)
    p.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    p.add_argument("--json", type=Path, metavar="FILE")
    args = p.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        options, store = workspace(Path(folder) / "work")
        with store:
            for method in args.methods:
                best = {"ours": float("inf"), "bare": float("inf")}
                for turn in range(args.repeats):
                    for name, side in (("bare", bare), ("ours", ours))[:: 1 - 2 * (turn % 2)]:  # either goes first
                        work = opened(options, store, method, args.steps)
                        best[name] = min(best[name], side(work, CLOCKS[args.clock]))
                        work.report.close()
                steps = args.steps - 1
                row = {
                    "method": method,
                    "steps_per_s_ours": steps / best["ours"],
                    "steps_per_s_trl": steps / best["bare"],
                }
                rows.append(row | {"ratio": best["bare"] / best["ours"], "clock": args.clock, "repeats": args.repeats})
                print(
                    f"{method:8} ours {row['steps_per_s_ours']:6.2f} steps/s   TRL {row['steps_per_s_trl']:6.2f} steps/s   "
                    f"ratio {rows[-1]['ratio']:.3f}",
                    flush=True,
                )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Our PPO against the last TRL that had one (1.12): episodes a second, peak memory, and the reward reached.

The goal: on the bundled model at least 3.5 times TRL's episodes a second at no lower reward; on a randomly initialised
Llama of 100 million parameters at least 1.5 times, with at most half of its peak memory above the bare process. With
`--device cuda` one of a billion parameters joins them.

    python -m benchmarks.ppo_vs_trl [--json FILE] [--models sandbox llama-100m] [--device cpu] [--repeats 3]

TRL and what it needs are installed once into an environment of their own (~/.cache/alignment-workbench/trl-1.12, or
--environment FOLDER). Both sides get the same base, LoRA (rank 16 on all linear layers), reward model, prompts, batch,
lengths, epochs, learning rate and number of updates. They run in turn, each in a process of its own, since the machine
may be doing other things; repeat k has seed k on both sides. Speed, memory and reward are medians over the repeats,
with the reward's difference seed by seed; both policies are held to gold afterwards, since a reward can be fooled; the
first updates warm up and are not timed. The reward model is a linear probe of gold on the base's hidden state
(random for the random Llama), so that nothing has to be trained first. TRL trains a second full model for the value, as
it must; it computes in float32 or under bfloat16 autocast, whichever is faster here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import venv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.memory import peak_mb  # cheap, and without torch: TRL's environment has what it needs

ROOT = Path(__file__).parent.parent
CACHE = Path.home() / ".cache" / "alignment-workbench" / "trl-1.12"
PINS = ("torch==2.13.0", "trl==1.12.0", "peft", "safetensors")
clock = time.perf_counter
WARM = 1  # updates before the clock starts
HELD_OUT = 300  # prompts on which the trained policies are held to gold
LAST = 10  # updates over which the reward reached is a mean
KL = 0.05  # what a nat of distance costs, on both sides


@dataclass(frozen=True)
class Case:
    """One row of the table. `shape` is that of a Llama of random weights: hidden and inner width, layers, heads."""

    model: str
    updates: int
    batch: int
    micro_batch: int
    learning_rate: float
    prompts: int
    new_tokens: int = 48
    epochs: int = 4
    shape: tuple[int, int, int, int] | None = None


CASES = {
    "sandbox": Case("sandbox", 40, 64, 64, 1e-3, 1024),
    "llama-100m": Case("llama-100m", 3, 16, 8, 1e-4, 64, shape=(768, 2048, 12, 12)),
    "llama-1b": Case("llama-1b", 6, 64, 16, 1e-4, 256, shape=(2048, 5632, 22, 32)),  # for a GPU
}


def main() -> int:
    global clock
    args = parser().parse_args()
    if args.clock == "cpu":
        clock = time.process_time
        os.environ["OMP_NUM_THREADS"] = "1"  # waiting threads would count as working
    if args.side:
        result = {"ours": ours, "trl": theirs}[args.side](Path(args.folder), args.device, args.precision, args.seed)
        print("RESULT " + json.dumps(result), flush=True)
        return 0
    python = environment(Path(args.environment))
    rows = []
    for name in args.models or [name for name in CASES if name != "llama-1b" or args.device == "cuda"]:
        folder = Path(args.environment) / "cases" / name
        prepare(CASES[name], folder, args.updates)
        rows.append(compare(CASES[name], folder, python, args))
        show(rows[-1])
        if args.json:
            Path(args.json).write_text(json.dumps(rows, indent=1), "utf-8")
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    p.add_argument("--json")
    p.add_argument("--models", nargs="+", choices=CASES, help="else all that suit the device")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--updates", type=int, help="instead of the case's own number")
    p.add_argument("--precisions", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    p.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: on one core, for a busy machine")
    p.add_argument("--environment", default=str(CACHE))
    for hidden in ("--side", "--folder", "--precision"):
        p.add_argument(hidden, help=argparse.SUPPRESS)
    p.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    return p


def environment(folder: Path) -> Path:
    """TRL 1.12 in a virtual environment of its own; the path of its Python."""
    python = folder / "env" / "bin" / "python"
    if not (folder / "installed").is_file():
        print(f"Installing {', '.join(PINS)} into {folder}", flush=True)
        venv.create(folder / "env", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINS], check=True)
        (folder / "installed").write_text("\n".join(PINS))
    return python


# What both sides get


def prepare(case: Case, folder: Path, updates: int | None) -> None:
    """Write base, reward model, prompts and settings of a case to `folder`."""
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_file

    from workbench import models, settings

    folder.mkdir(parents=True, exist_ok=True)
    case = Case(**(asdict(case) | ({"updates": updates} if updates else {})))
    base = random_llama(folder / "base", case.shape) if case.shape else settings.SANDBOX
    texts = prompts(case)
    setup = asdict(case) | {"base": str(base)}
    (folder / "case.json").write_text(json.dumps(setup | {"prompts": texts}), "utf-8")
    run = folder / "runs" / "0001-reward"
    if (run / "adapter" / "score.json").is_file():
        return
    (run / "adapter").mkdir(parents=True, exist_ok=True)
    model = models.load(str(base))
    width = model.hf.config.hidden_size
    head, mean, std = (torch.randn(width) / width**0.5, 0.0, 1.0) if case.shape else probe(model, texts)
    peft = get_peft_model(model.hf, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    peft.save_pretrained(str(run / "adapter"))  # B is 0: the reward model's body is the base
    save_file({"score.weight": head[None]}, run / "adapter" / "score_head.safetensors")
    (run / "adapter" / "score.json").write_text(json.dumps({"mean": mean, "std": std, "pooling": "end"}))
    (run / "config.json").write_text(json.dumps({"number": 1, "method": "reward", "model": str(base)}))


def random_llama(folder: Path, shape: tuple[int, int, int, int]) -> Path:
    """A Llama of random weights with the bundled tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from workbench import models

    if not (folder / "config.json").is_file():
        tokenizer = models.tokenizer("sandbox")
        torch.manual_seed(0)
        width, inner, layers, heads = shape
        config = LlamaConfig(
            vocab_size=20_000,
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def prompts(case: Case) -> list[str]:
    from workbench.sandbox import world

    return [p.text for p in world.sample(case.prompts, "train", seed=1)]


def probe(model: Any, texts: list[str]) -> tuple[Any, float, float]:
    """A linear reward on the base's state at the end token, fitted to gold by ridge regression; its mean and spread."""
    import torch

    from workbench.models.generate import generate
    from workbench.records import Sampling
    from workbench.sandbox.gold import score

    answers = generate(model, texts, Sampling(temperature=0.8, max_new_tokens=48, seed=1))
    rows = [model.prompt_ids(t) + model.answer_ids(a.text) for t, a in zip(texts, answers, strict=True)]
    scored = [score(t, a.text) for t, a in zip(texts, answers, strict=True)]
    gold = torch.tensor([one.total for one in scored if one is not None])  # each is of the sandbox's world
    states = []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row], device=model.device)
            states.append(model.hf.model(input_ids=ids).last_hidden_state[0, -1].float().cpu())
    x = torch.stack(states)
    centred = x - x.mean(0)
    head = torch.linalg.solve(centred.T @ centred + 10.0 * torch.eye(x.shape[1]), centred.T @ (gold - gold.mean()))
    scores = x @ head
    print(f"reward probe: correlation with gold {torch.corrcoef(torch.stack([scores, gold]))[0, 1]:.2f}", flush=True)
    return head, float(scores.mean()), float(scores.std())


# One side, in a process of its own


def ours(folder: Path, device: str, precision: str | None, seed: int) -> dict[str, Any]:
    """Run PPO as a job does, without looks and checkpoints."""
    import torch

    from workbench import models
    from workbench.learn.catalogue.ppo import PPOArgs
    from workbench.learn.engine import adapter
    from workbench.learn.engine.actor_critic import ActorCritic
    from workbench.learn.methods import ppo
    from workbench.learn.rewards.sources import build
    from workbench.models import llama

    bare = peak_mb()
    case = json.loads((folder / "case.json").read_text())
    a = PPOArgs(
        steps=case["updates"],
        batch_size=case["batch"],
        micro_batch=case["micro_batch"],
        max_new_tokens=case["new_tokens"],
        epochs=case["epochs"],
        learning_rate=case["learning_rate"],
        reward="run:1",
        warmup=0.0,
        stop_kl=0.0,
        kl_coefficient=KL,
        end_penalty=1.0,
        seed=seed,
    )
    torch.manual_seed(seed)
    model = models.load(case["base"], device=device)
    model.adopt(adapter.with_adapter(model, a), adapter.POLICY)
    if llama.merges(model.hf) and device == "cpu":
        torch.set_num_threads(1)
    actor = ActorCritic(model, None, a.temperature, case["micro_batch"])
    reward = build(a.reward, folder / "runs", model, actor)
    actor.claim()
    state = ppo.PPO(actor, reward, a)
    batches = ppo.prompts_of([{"id": i, "prompt": text} for i, text in enumerate(case["prompts"])], a)
    rewards, seconds = [], []
    for step, batch in enumerate(batches, 1):
        began = clock()
        figures = state.iterate(batch, step)
        rewards.append(figures["reward"] - a.end_penalty * (1 - figures["ended"]))  # as TRL tells it
        seconds.append(clock() - began)
    adapter.save_adapter(model.peft, folder / "ours", case["base"])
    return summary(case, rewards, seconds, bare, device, f"{actor.dtype}".removeprefix("torch."))


def theirs(folder: Path, device: str, precision: str | None, seed: int) -> dict[str, Any]:
    """Run TRL's PPOTrainer: LoRA policy (the reference is the base without it), full value model, full reward model."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from safetensors.torch import load_file
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        PrinterCallback,
        TrainerCallback,
    )
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    bare = peak_mb()
    case = json.loads((folder / "case.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(case["base"], padding_side="left")

    def scorer() -> Any:
        scorer_model = AutoModelForSequenceClassification.from_pretrained(
            case["base"], num_labels=1, dtype=torch.float32
        )
        scorer_model.config.pad_token_id = tokenizer.pad_token_id
        head = load_file(folder / "runs" / "0001-reward" / "adapter" / "score_head.safetensors")["score.weight"]
        scale = json.loads((folder / "runs" / "0001-reward" / "adapter" / "score.json").read_text())
        scorer_model.score = torch.nn.Linear(head.shape[1], 1)
        scorer_model.score.weight.data = head / scale["std"]
        scorer_model.score.bias.data = torch.tensor([-scale["mean"] / scale["std"]])
        return scorer_model

    framed = [
        tokenizer.apply_chat_template([{"role": "user", "content": p}], add_generation_prompt=True, return_dict=False)
        for p in case["prompts"]
    ]
    data = Dataset.from_dict({"input_ids": framed})
    rewards: list[float] = []
    ticks: list[float] = []

    class Watch(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "objective/scores" in logs:
                rewards.append(logs["objective/scores"])
                ticks.append(clock())

    config = PPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=case["micro_batch"],
        gradient_accumulation_steps=case["batch"] // case["micro_batch"],
        local_rollout_forward_batch_size=case["micro_batch"],
        total_episodes=case["updates"] * case["batch"],
        num_ppo_epochs=case["epochs"],
        num_mini_batches=1,
        response_length=case["new_tokens"],
        temperature=0.8,
        learning_rate=case["learning_rate"],
        kl_coef=KL,
        vf_coef=0.1,
        missing_eos_penalty=1.0,
        stop_token="eos",
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=precision == "bfloat16",
        use_cpu=device == "cpu",
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        seed=seed,
    )
    torch.manual_seed(seed)
    trainer = PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(case["base"], dtype=torch.float32),
        ref_model=None,
        reward_model=scorer(),
        value_model=scorer(),
        train_dataset=data,
        eval_dataset=data.select(range(case["batch"])),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Watch()],
    )
    trainer.remove_callback(PrinterCallback)
    began = clock()
    trainer.train()
    seconds = [b - a for a, b in zip([began, *ticks], ticks, strict=False)]
    trainer.accelerator.unwrap_model(trainer.model).policy.save_pretrained(folder / "theirs")
    return summary(case, rewards, seconds, bare, device, precision or "float32")


def summary(
    case: dict[str, Any], rewards: list[float], seconds: list[float], bare: float, device: str, precision: str
) -> dict[str, Any]:
    peak = peak_mb() - bare
    if device == "cuda":
        import torch

        peak = torch.cuda.max_memory_reserved() / 2**20
    last = rewards[-LAST:]
    return {
        "episodes_per_s": case["batch"] / statistics.median(seconds[WARM:]),
        "peak_mb": peak,
        "reward": sum(last) / len(last),
        "first_reward": rewards[0],
        "precision": precision,
    }


# Side by side


def gold(case: Case, folder: Path) -> float | None:
    """Gold of a trained policy on held-out prompts, what the reward is to stand for; None for a model of random weights."""
    from workbench import models
    from workbench.measure.evaluate import evaluate
    from workbench.records import Sampling
    from workbench.sandbox import world

    if case.shape:
        return None
    model = models.load(json.loads((folder.parent / "case.json").read_text())["base"])
    questions = [p.text for p in world.reporting(HELD_OUT)]
    sampling = Sampling(temperature=0.8, max_new_tokens=case.new_tokens, seed=0)
    return evaluate(model, questions, sampling, model.attach(folder)).gold


def compare(case: Case, folder: Path, python: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run both sides in turn, repeat k with seed k on both; TRL in the precision in which it is faster."""
    results: dict[str, list[dict[str, Any]]] = {"ours": [], **{p: [] for p in args.precisions}}
    for seed in range(args.repeats):
        results["ours"].append(run(sys.executable, "ours", folder, args, "-", seed))
        results["ours"][-1]["gold"] = gold(case, folder / "ours")
        for precision in args.precisions:
            results[precision].append(run(python, "trl", folder, args, precision, seed))
            results[precision][-1]["gold"] = gold(case, folder / "theirs")

    def middle(side: str, key: str) -> float:
        return statistics.median(one[key] for one in results[side])

    best = max(args.precisions, key=lambda p: middle(p, "episodes_per_s"))
    rewards = {side: [one["reward"] for one in results[side]] for side in ("ours", best)}
    return {
        "model": case.model,
        "device": args.device,
        "clock": args.clock,
        "episodes_per_s_ratio": middle("ours", "episodes_per_s") / middle(best, "episodes_per_s"),
        "peak_memory_ratio": middle("ours", "peak_mb") / middle(best, "peak_mb"),
        "reward_ours": statistics.median(rewards["ours"]),
        "reward_theirs": statistics.median(rewards[best]),
        "reward_differences": [a - b for a, b in zip(rewards["ours"], rewards[best], strict=True)],
        "gold_ours": [one["gold"] for one in results["ours"]],
        "gold_theirs": [one["gold"] for one in results[best]],
        "reward_at_first": middle("ours", "first_reward"),
        "episodes_per_s_ours": middle("ours", "episodes_per_s"),
        "episodes_per_s_theirs": middle(best, "episodes_per_s"),
        "peak_mb_ours": middle("ours", "peak_mb"),
        "peak_mb_theirs": middle(best, "peak_mb"),
        "precision_ours": results["ours"][0]["precision"],
        "precision_theirs": best,
        "updates": args.updates or case.updates,
        "runs": results,
    }


def run(
    python: Path | str, side: str, folder: Path, args: argparse.Namespace, precision: str, seed: int
) -> dict[str, Any]:
    command = [str(python), "-m", "benchmarks.ppo_vs_trl", "--side", side, "--folder", str(folder)]
    command += ["--device", args.device, "--clock", args.clock, "--seed", str(seed)]
    env = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([*command, "--precision", precision], cwd=ROOT, env=env, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        raise RuntimeError(f"{side} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    result = json.loads(lines[-1].removeprefix("RESULT "))
    print(f"  {side:5} {precision:8}  " + "  ".join(f"{k} {v:.4g}" for k, v in result.items() if k != "precision"))
    sys.stdout.flush()
    return result


def show(row: dict[str, Any]) -> None:
    golds = (", ".join(f"{g:.3f}" for g in row[f"gold_{side}"] if g is not None) for side in ("ours", "theirs"))
    print(
        f"{row['model']} on {row['device']}, {row['updates']} updates\n"
        f"  episodes/s    {row['episodes_per_s_ours']:8.1f} ours {row['episodes_per_s_theirs']:8.1f} TRL   "
        f"{row['episodes_per_s_ratio']:.2f} times\n"
        f"  peak MB       {row['peak_mb_ours']:8.0f} ours {row['peak_mb_theirs']:8.0f} TRL   "
        f"{row['peak_memory_ratio']:.2f} of it\n"
        f"  reward        {row['reward_ours']:8.3f} ours {row['reward_theirs']:8.3f} TRL   "
        f"from {row['reward_at_first']:.3f}; ours - TRL by seed: "
        + ", ".join(f"{d:+.3f}" for d in row["reward_differences"]),
        "\n  gold by seed  {} ours   {} TRL".format(*golds),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

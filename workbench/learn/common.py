"""What every method shares: the model with its adapter, the looks at held-out examples, steps that are told, kept, rejected.

A method's file (sft.py, dpo.py) has `train(work) -> result`; it makes a TRL trainer with `Tracked` mixed in.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from workbench import generate, models, settings
from workbench.intervals import UNIT, Z95, mean_ci
from workbench.learn import checkpoints, data
from workbench.learn.args import METHODS, TrainArgs, parse
from workbench.learn.reporter import Reporter
from workbench.processes import write_atomic
from workbench.records import Sampling

POLICY, START = "default", "ref"  # adapters: the one trained, and where it began (TRL's names)


def method_module(name: str) -> Any:
    return importlib.import_module(f"workbench.learn.{name}")


def warm() -> None:
    """Import all that a job needs, so that it can begin at once."""
    for name in METHODS:
        method_module(name)
    torch.set_num_threads(settings.threads().value)


@dataclass
class Work:
    """One run in its process: its folder and settings, the model with the adapter to train, the data, the reporter."""

    folder: Path
    config: dict[str, Any]
    args: Any
    report: Reporter
    model: models.Model
    peft: PeftModel
    train: list[data.Row]
    heldout: list[data.Row]
    prompts: dict[str, list[str]]
    resume_from: Path | None = None
    first_step: int = 0
    frozen: str = ""
    trained_for: float = 0.0
    beside: Callable[[Path], None] | None = None  # writes what else belongs into the adapter's folder
    last: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, run: Any, report: Reporter) -> Work:
        """Load what the run folder names. Raises ModelError for a model that cannot be loaded."""
        args: TrainArgs = parse(run.method, run.config["args"])
        train, heldout, prompts = data.load(run.folder / "data")
        model = models.load(run.config["model"], trust_remote_code=run.config.get("trust_remote_code", False))
        report.alive()
        torch.manual_seed(args.seed)
        parent = run.config["parent"]
        peft = _with_adapter(model, args, run.folder.parent, parent)
        model.adopt(peft, *([POLICY, START] if parent else [POLICY]))
        work = cls(run.folder, run.config, args, report, model, peft, train, heldout[:], prompts)
        work.heldout = work.heldout[: args.held_out]
        work.frozen = frozen_hash(peft)
        batch = data.first_batch(model.tokenizer, run.method, train, args)
        (run.folder / "first_batch.txt").write_text(data.as_text(batch), "utf-8")
        cut = sum(item["cut"] for item in batch)
        if cut:
            report.notice(f"{cut} of the first {len(batch)} examples are longer than max_tokens and are cut.")
        work._find_checkpoint()
        return work

    @property
    def start(self) -> str | None:
        """The adapter that stands for where the run began: None is the base."""
        return START if self.config["parent"] else None

    @property
    def sampling(self) -> Sampling:
        a = self.args
        return Sampling(temperature=a.temperature, max_new_tokens=a.max_new_tokens, seed=a.seed)

    def alive(self) -> bool:
        """For `should_stop` of a generation: tell the watchdog that it goes on, and let it."""
        self.report.alive()
        return False

    def _find_checkpoint(self) -> None:
        found, notices = checkpoints.newest(self.folder / "checkpoints")
        for text in notices:
            self.report.notice(text)
        told = (self.folder / "metrics.jsonl").stat().st_size > 0
        if found is not None:
            self.resume_from, self.first_step = found, checkpoints.step_of(found)
            self.trained_for = json.loads((found / "state.json").read_text("utf-8"))["trained_for"]
        if told:
            self.report.back_to(self.first_step if found is not None else -1)
            self.report.notice(f"Resumed from step {self.first_step}.")


def _with_adapter(model: models.Model, args: TrainArgs, runs: Path, parent: int | None) -> PeftModel:
    if parent is None:
        config = LoraConfig(
            r=args.lora_rank,
            lora_alpha=args.lora_alpha,
            lora_dropout=args.lora_dropout,
            target_modules="all-linear",  # all but the output layer
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model.hf, config, adapter_name=POLICY)
    folder = str(next(runs.glob(f"{parent:04d}-*")) / "adapter")
    peft = PeftModel.from_pretrained(model.hf, folder, adapter_name=POLICY, is_trainable=True)
    peft.load_adapter(folder, adapter_name=START, is_trainable=False)
    peft.set_adapter(POLICY)
    return peft


def trainer_settings(work: Work) -> dict[str, Any]:
    """Arguments that TRL's configs share; trl's own defaults (bf16, telemetry, logging every 10) do not suit us."""
    a: TrainArgs = work.args
    on_gpu = work.model.device.type == "cuda"
    large = sum(p.numel() for p in work.model.hf.parameters()) > 300_000_000
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
        "gradient_checkpointing": on_gpu and large,
        "dataloader_pin_memory": on_gpu,
    }


# Looking at held-out examples


def look(work: Work, step: int, method_metrics: Callable[[Work, int], dict[str, Any]]) -> None:
    """Write what the model does on held-out examples now: the method's own figures, sampled answers, KL and gold."""
    work.peft.eval()  # rows with different adapters run only so; the trainer turns it back at its next step
    values = method_metrics(work, step)
    work.report.metrics(step, **values)
    work.report.alive()
    work.last |= values
    few, live = work.prompts["samples"], work.prompts["live"]
    if not few and not live:  # a reward model answers nothing
        return
    speaker = POLICY if step or work.config["parent"] else None  # a fresh adapter changes nothing yet
    answers = generate.generate(
        work.model,
        few + live,
        work.sampling,
        adapters=[speaker] * (len(few) + len(live)),
        should_stop=work.alive,
    )
    for prompt, answer in zip(few, answers, strict=False):
        work.report.sample(step, prompt, answer.text)
    if live:
        sampled = kl(work, step, live, answers[len(few) :])
        if work.config["model"] == "sandbox":
            sampled |= gold(live, [a.text for a in answers[len(few) :]])
        work.report.metrics(step, **sampled)
        work.last |= sampled
    work.report.alive()


def kl(work: Work, step: int, prompts: Sequence[str], answers: Sequence[generate.Generated]) -> dict[str, Any]:
    """KL(policy || start) per answer in nats, estimated on answers of the policy, at their temperature.

    The mean of log p(answer) - log start(answer) over answers drawn from p: unbiased (Schulman 2020, "k1").
    """
    if step == 0:
        return {"kl": 0.0, "kl_low": 0.0, "kl_high": 0.0, "kl_n": len(prompts)}
    began = generate.logprobs(
        work.model, prompts, [a.tokens for a in answers], adapter=work.start, temperature=work.args.temperature
    )
    values = [a.logprob - sum(b) for a, b in zip(answers, began, strict=True)]
    return named("kl", *mean_ci(values), len(values))


def gold(prompts: Sequence[str], answers: Sequence[str]) -> dict[str, Any]:
    """Mean gold score with its interval; prompts that are not of the sandbox's world do not count."""
    from workbench.sandbox.gold import score

    scored = [score(p, a) for p, a in zip(prompts, answers, strict=True)]
    values = [s.total for s in scored if s is not None]
    return named("gold", *mean_ci(values, UNIT), len(values)) if values else {}


def named(key: str, value: float, low: float, high: float, n: int) -> dict[str, Any]:
    return {key: value, f"{key}_low": low, f"{key}_high": high, f"{key}_n": n}


def ratio_ci(sums: Sequence[float], counts: Sequence[int]) -> tuple[float, float, float]:
    """sum(sums) / sum(counts) with its 95 % interval over examples (Cochran 1977, 6.4): a loss per token, say."""
    ratio = sum(sums) / sum(counts)
    n = len(sums)
    if n == 1:
        return ratio, float("-inf"), float("inf")
    mean = sum(counts) / n
    spread = sum((s - ratio * c) ** 2 for s, c in zip(sums, counts, strict=True)) / (n - 1)
    half = Z95 * math.sqrt(spread / n) / mean
    return ratio, ratio - half, ratio + half


def answer_logprobs(work: Work, rows: Sequence[data.Row], key: str, adapter: str | None) -> list[list[float]]:
    """Log-probabilities of the answers `rows[i][key]`, cut to max_tokens as in training; one list per answer."""
    words = work.model.tokenizer
    prompts = [r["prompt"] for r in rows]
    room = [work.args.max_tokens - len(data.prompt_ids(words, p)) for p in prompts]
    ids = [data.answer_ids(words, r[key])[: max(1, n)] for r, n in zip(rows, room, strict=True)]
    size = work.args.micro_batch or work.args.batch_size
    return generate.logprobs(work.model, prompts, ids, adapter=adapter, batch_size=max(size, 16))


# The end


def finish(work: Work) -> dict[str, Any]:
    """Check that only the adapter has changed, save it, answer the final prompts, and return the result."""
    step = work.report.get("step") or 0
    if frozen_hash(work.peft) != work.frozen:
        raise RuntimeError("weights that should be frozen have changed; the adapter is not saved")
    save_adapter(work.peft, work.folder / "adapter", work.config["model"], work.beside)
    result: dict[str, Any] = {"steps": step, "train_seconds": round(work.trained_for, 2), **_rounded(work.last)}
    final = work.prompts["final"]
    if final and step == work.args.steps:
        work.report.status(message="Measuring the result on held-out prompts.")
        result |= _rounded(_final(work, final))
    from workbench.learn.job import peak_mb

    before = work.report.get("seconds_before") or 0.0
    return result | {"seconds": round(before + work.report.seconds, 2), "peak_mb": peak_mb()}


def _final(work: Work, prompts: list[str]) -> dict[str, Any]:
    """The result on the sandbox: gold with its parts and styles, and the base's on the same prompts, paired."""
    from workbench.measure.evaluate import evaluate
    from workbench.measure.winrate import mean, win_rate

    found = evaluate(work.model, prompts, work.sampling, adapter=POLICY, should_stop=work.alive)
    golds = [a.gold for a in found.answers]
    said = [{"prompt": a.prompt, "answer": a.text, "gold": a.gold, "style": a.style} for a in found.answers]
    write_atomic(work.folder / "answers.jsonl", "".join(json.dumps(row) + "\n" for row in said))
    base = _base_golds(work, prompts)
    start, won = mean(base, UNIT), win_rate(base, golds)
    return {
        **named("gold", found.gold, found.low, found.high, found.n),
        **named("base_gold", start.value, start.low, start.high, start.n),
        **named("win_rate", won.value, won.low, won.high, won.n),
        "parts": {name: asdict(part) for name, part in found.parts.items()},
        "shares": {style: asdict(share) for style, share in found.shares.items()},
        "length": asdict(found.length),
    }


def _base_golds(work: Work, prompts: list[str]) -> list[float]:
    """Gold of the base's answers to the final prompts; kept in the workspace, since it is the same for every run."""
    from workbench.measure.evaluate import evaluate

    weights = sorted(settings.SANDBOX.glob("*.safetensors"))
    asked = json.dumps(
        [prompts, asdict(work.sampling), [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in weights]]
    )
    file = work.folder.parent / f".base-{blake2b(asked.encode(), digest_size=8).hexdigest()}.json"
    if file.is_file():
        return json.loads(file.read_text("utf-8"))
    found = evaluate(work.model, prompts, work.sampling, should_stop=work.alive)
    golds = [a.gold for a in found.answers]
    write_atomic(file, json.dumps(golds))
    return golds


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) and math.isfinite(v) else v for k, v in values.items()}


def save_adapter(peft: PeftModel, folder: Path, base: str, beside: Callable[[Path], None] | None = None) -> None:
    """The trained adapter alone, as safetensors, complete or not at all; nothing pickled lies beside it."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    state = get_peft_model_state_dict(peft, adapter_name=POLICY, save_embedding_layers=False)
    save_file({k: v.contiguous() for k, v in state.items()}, fresh / "adapter_model.safetensors", {"format": "pt"})
    config = peft.peft_config[POLICY]
    was, config.base_model_name_or_path = config.base_model_name_or_path, base
    config.save_pretrained(str(fresh))
    config.base_model_name_or_path = was
    if beside:
        beside(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def frozen_hash(peft: PeftModel) -> str:
    """A hash of every weight that must not change; of large ones, of 65,536 values spread over them."""
    digest = blake2b(digest_size=16)
    for name, weight in peft.named_parameters():
        if not weight.requires_grad and f".{START}." not in name:
            flat = weight.detach().reshape(-1)
            flat = flat[:: max(1, flat.numel() // 65_536)] if flat.numel() > 1_000_000 else flat
            digest.update(name.encode() + flat.contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()

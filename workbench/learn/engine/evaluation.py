"""What a policy does on held-out prompts: while it trains and at the end, each figure with its interval."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import settings
from workbench.intervals import UNIT, mean_ci
from workbench.learn import examples
from workbench.learn.catalogue.facts import Row
from workbench.learn.engine.adapter import POLICY, save_adapter
from workbench.learn.engine.saving import check_frozen
from workbench.models import generate
from workbench.processes import write_atomic

if TYPE_CHECKING:
    from workbench.learn.engine.work import Work

Metrics = Callable[["Work", int], dict[str, Any]]  # (run, step) -> a method's own figures on held-out examples


def no_metrics(work: Work, step: int) -> dict[str, Any]:
    """For a method without figures of its own."""
    return {}


def evaluate(work: Work, step: int, method_metrics: Metrics = no_metrics) -> None:
    """Write what the model does on held-out examples now: the method's own figures, sampled answers, KL and gold."""
    work.peft.eval()  # rows with different adapters run only so; the trainer turns it back at its next step
    values = method_metrics(work, step)
    work.report.metrics(step, **values)
    work.report.alive()
    work.last |= values
    samples, live = work.prompts["samples"], work.prompts["live"]
    if not samples and not live:  # a reward model answers nothing
        return
    answers = generate.generate(
        work.model,
        samples + live,
        work.sampling,
        adapters=[work.policy(step)] * (len(samples) + len(live)),
        should_stop=work.alive,
    )
    for prompt, answer in zip(samples, answers, strict=False):
        work.report.sample(step, prompt, answer.text)
    if live:
        figures = kl(work, step, live, answers[len(samples) :])
        if work.config.model == "sandbox":
            figures |= gold(live, [a.text for a in answers[len(samples) :]])
        work.report.metrics(step, **figures)
        work.last |= figures
    work.report.alive()


def kl(work: Work, step: int, prompts: Sequence[str], answers: Sequence[generate.Generated]) -> dict[str, Any]:
    """KL(policy || start) per answer in nats, estimated on answers of the policy, at their temperature.

    The mean of log p(answer) - log start(answer) over answers drawn from p: unbiased (Schulman 2020, "k1").
    """
    if step == 0:
        return {"kl": 0.0, "kl_low": 0.0, "kl_high": 0.0, "kl_n": len(prompts)}
    start = generate.logprobs(
        work.model,
        prompts,
        [a.tokens for a in answers],
        adapter=work.start,
        temperature=work.args.temperature,
        batch_size=work.args.micro_batch or work.args.batch_size,
        on_batch=work.alive,
    )
    values = [a.logprob - sum(b) for a, b in zip(answers, start, strict=True)]
    return with_interval("kl", *mean_ci(values), len(values))


def gold(prompts: Sequence[str], answers: Sequence[str]) -> dict[str, Any]:
    """Mean gold score with its interval; prompts that are not of the sandbox's world do not count."""
    from workbench.sandbox.gold import score

    scores = [score(p, a) for p, a in zip(prompts, answers, strict=True)]
    values = [s.total for s in scores if s is not None]
    return with_interval("gold", *mean_ci(values, UNIT), len(values)) if values else {}


def with_interval(key: str, value: float, low: float, high: float, n: int) -> dict[str, Any]:
    return {key: value, f"{key}_low": low, f"{key}_high": high, f"{key}_n": n}


def answer_logprobs(work: Work, rows: Sequence[Row], key: str, adapter: str | None) -> list[list[float]]:
    """Log-probabilities of the answers `rows[i][key]`, cut as in training; one list per answer."""
    encoded, _ = examples.examples(work.model.tokenizer, work.method, rows, work.limits)
    prompts, answers = [one.prompt for one in encoded], [one.answers[key] for one in encoded]
    size = work.args.micro_batch or work.args.batch_size
    return generate.logprobs(work.model, prompts, answers, adapter=adapter, batch_size=size, on_batch=work.alive)


def not_finite_cause(work: Work) -> str:
    """ "model" if the base gives no finite log-probability for the shortest training prompt, else "update"."""
    work.peft.eval()
    prompt = min((row["prompt"] for row in work.train), key=len)
    (values,) = generate.logprobs(work.model, [prompt], ["Yes"])
    return "update" if all(map(math.isfinite, values)) else "model"


def finish(work: Work) -> dict[str, Any]:
    """Check that only the adapter has changed, save it, answer the final prompts, and return the result."""
    step = work.report.get("step") or 0
    check_frozen(work)
    save_adapter(work.peft, work.folder / "adapter", work.config.model, work.write_beside)
    result: dict[str, Any] = {"steps": step, "train_seconds": round(work.trained_for, 2), **_rounded(work.last)}
    final = work.prompts["final"]
    if final and step == work.args.steps:
        work.report.status(message="Measuring the result on held-out prompts.")
        result |= _rounded(_final(work, final))
    from workbench.memory import peak_mb

    before = work.report.get("seconds_before") or 0.0
    return result | {"seconds": round(before + work.report.seconds, 2), "peak_mb": peak_mb()}


def _final(work: Work, prompts: list[str]) -> dict[str, Any]:
    """The result on the sandbox: gold with its parts and styles, and the base's on the same prompts, paired."""
    from workbench.measure import evaluate as gold_evaluation
    from workbench.measure.winrate import mean, win_rate

    policy = gold_evaluation.evaluate(work.model, prompts, work.sampling, adapter=POLICY, should_stop=work.alive)
    golds = [a.gold for a in policy.answers]
    rows = [{"prompt": a.prompt, "answer": a.text, "gold": a.gold, "style": a.style} for a in policy.answers]
    write_atomic(work.folder / "answers.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    base = _base_golds(work, prompts)
    base_mean, wins = mean(base, UNIT), win_rate(base, golds)
    return {
        **with_interval("gold", policy.gold, policy.low, policy.high, policy.n),
        **with_interval("base_gold", base_mean.value, base_mean.low, base_mean.high, base_mean.n),
        **with_interval("win_rate", wins.value, wins.low, wins.high, wins.n),
        "parts": {name: asdict(part) for name, part in policy.parts.items()},
        "shares": {style: asdict(share) for style, share in policy.shares.items()},
        "length": asdict(policy.length),
    }


def _base_golds(work: Work, prompts: list[str]) -> list[float]:
    """Gold of the base's answers to the final prompts; kept in the workspace, since it is the same for every run."""
    from workbench.measure import evaluate as gold_evaluation

    weights = sorted(settings.SANDBOX.glob("*.safetensors"))
    key = json.dumps(
        [prompts, asdict(work.sampling), [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in weights]]
    )
    file = work.folder.parent / f".base-{blake2b(key.encode(), digest_size=8).hexdigest()}.json"
    if file.is_file() and (golds := _read_golds(file, len(prompts))):
        return golds
    base = gold_evaluation.evaluate(work.model, prompts, work.sampling, should_stop=work.alive)
    golds = [a.gold for a in base.answers]
    write_atomic(file, json.dumps(golds))
    return golds


def _read_golds(file: Path, n: int) -> list[float] | None:
    """The numbers in the file, None when they are not n of them: they can be measured again."""
    try:
        golds = json.loads(file.read_text("utf-8"))
    except ValueError:
        return None
    usable = isinstance(golds, list) and len(golds) == n and all(isinstance(g, int | float) for g in golds)
    return golds if usable else None


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) and math.isfinite(v) else v for k, v in values.items()}

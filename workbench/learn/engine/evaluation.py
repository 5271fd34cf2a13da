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
from workbench.learn import data, examples
from workbench.learn.engine.adapter import POLICY, save_adapter
from workbench.learn.engine.saving import check_frozen
from workbench.models import generate
from workbench.processes import write_atomic

if TYPE_CHECKING:
    from workbench.learn.engine.work import Work


def evaluate(work: Work, step: int, method_metrics: Callable[[Work, int], dict[str, Any]]) -> None:
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
        work.model,
        prompts,
        [a.tokens for a in answers],
        adapter=work.start,
        temperature=work.args.temperature,
        batch_size=work.args.micro_batch or work.args.batch_size,
        on_batch=work.alive,
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


def answer_logprobs(work: Work, rows: Sequence[data.Row], key: str, adapter: str | None) -> list[list[float]]:
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
    save_adapter(work.peft, work.folder / "adapter", work.config["model"], work.beside)
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

    found = gold_evaluation.evaluate(work.model, prompts, work.sampling, adapter=POLICY, should_stop=work.alive)
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
    from workbench.measure import evaluate as gold_evaluation

    weights = sorted(settings.SANDBOX.glob("*.safetensors"))
    asked = json.dumps(
        [prompts, asdict(work.sampling), [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in weights]]
    )
    file = work.folder.parent / f".base-{blake2b(asked.encode(), digest_size=8).hexdigest()}.json"
    if file.is_file() and (kept := _kept_golds(file, len(prompts))):
        return kept
    found = gold_evaluation.evaluate(work.model, prompts, work.sampling, should_stop=work.alive)
    golds = [a.gold for a in found.answers]
    write_atomic(file, json.dumps(golds))
    return golds


def _kept_golds(file: Path, n: int) -> list[float] | None:
    """The numbers in the file, None when they are not n of them: they can be measured again."""
    try:
        golds = json.loads(file.read_text("utf-8"))
    except ValueError:
        return None
    usable = isinstance(golds, list) and len(golds) == n and all(isinstance(g, int | float) for g in golds)
    return golds if usable else None


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) and math.isfinite(v) else v for k, v in values.items()}

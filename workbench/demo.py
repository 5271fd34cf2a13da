"""The whole loop with simulated raters: demonstrations, SFT, choices, DPO, a reward model, PPO; what each stage gained.

Everything goes through the functions that the page uses, and into a workspace that the page opens afterwards.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.jobs import control
from workbench.jobs.runs import Run, list_runs
from workbench.learn.catalogue import METHODS, parse
from workbench.learn.run_files import RunResult
from workbench.processes import standby
from workbench.records import Comparison, Demonstration, Response, Sampling
from workbench.sandbox import world
from workbench.sandbox.raters import SimulatedRater
from workbench.settings import Settings
from workbench.store import Store

if TYPE_CHECKING:
    from workbench.measure.evaluate import Evaluation
    from workbench.models import Model

SEED = 0
DEMONSTRATIONS, CHOICES = 150, 500  # to learn from, all on training prompts
HELD_OUT_DEMONSTRATIONS, HELD_OUT_CHOICES = 25, 300  # never trained on: they tell how the training goes
EVALUATED = 300
CLAIMS = 120
VERDICTS = 20
TURNS = 12  # how often the prompts may be asked again for more pairs


@dataclass(frozen=True)
class Stage:
    """A row of the table. Rates and gold are 0..1 on `n` held-out prompts; `seconds` include collecting the data.

    A reward model answers nothing: it has an `accuracy` on `n` held-out choices and a verdict instead.
    """

    name: str
    n: int
    seconds: float
    peak_mb: float
    gold: float | None = None
    gold_low: float | None = None
    gold_high: float | None = None
    win_rate: float | None = None
    win_low: float | None = None
    win_high: float | None = None
    parts: dict[str, float] = field(default_factory=dict)
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    verdict: str | None = None


def main(settings: Settings, as_json: bool = False) -> int:
    """Walk the loop in a workspace of its own. Raises ValueError when the workspace given is in use."""
    from workbench import models

    start_time = time.monotonic()
    settings.workspace.mkdir(parents=True, exist_ok=True)
    standby.start()  # imports while the base answers
    try:
        with Store(settings.database) as store:
            if store.counts()["prompts"]:
                raise ValueError(f"{settings.workspace} already holds a workspace: name a new folder with --workspace")
            store.add_prompts([p.text for p in world.starter(30)], "sandbox", [p.kind for p in world.starter(30)])
            model = models.load(settings.model)
            say(f"The base answers {EVALUATED} held-out prompts at temperature 0.8, seed {SEED}.")
            stages = [base_stage(model)]
            stages.append(sft_stage(settings, store))
            sft = list_runs(settings.workspace)[0].number
            stages.append(dpo_stage(settings, store, model))
            stages.append(reward_stage(settings, store))
            stages.append(ppo_stage(settings, store, "ppo", None, steps=40))
            stages.append(ppo_stage(settings, store, "sft+ppo", sft, batch_size=128))
            vote_blind(settings, store, model)
    finally:
        standby.stop()
    total = time.monotonic() - start_time
    say(table(stages))
    lead_rows = lead(settings, stages)
    say(
        f"\n{total:.0f} s in all. All raters here are simulated. See it: python app.py --workspace {settings.workspace}"
    )
    if as_json:
        rows = [{key: value for key, value in vars(stage).items() if value not in (None, {})} for stage in stages]
        say(json.dumps({"stages": rows, "lead": lead_rows, "seconds_total": round(total, 1)}))
    return 0


def free_folder(home: Path) -> Path:
    """A folder for a demo that nobody has used: demo, demo-2, ... in the home."""
    names = ("demo", *(f"demo-{i}" for i in range(2, 10_000)))
    return next(home / name for name in names if not (home / name).exists())


def say(text: str) -> None:
    print(text, flush=True)


def base_stage(model: Model) -> Stage:
    from workbench.measure.evaluate import evaluate
    from workbench.memory import peak_mb

    start_time = time.monotonic()
    sampling = Sampling(temperature=0.8, max_new_tokens=64, seed=SEED)
    evaluation = evaluate(model, [p.text for p in world.reporting(EVALUATED)], sampling)
    parts = {name: part.value for name, part in evaluation.parts.items()}
    parts |= {f"style_{style}": share.value for style, share in evaluation.shares.items()}
    parts["claims_right"] = claims_right(model, sampling)
    parts = {name: round(value, 4) for name, value in parts.items()}
    seconds = round(time.monotonic() - start_time, 1)
    return Stage(
        name="base",
        n=evaluation.n,
        seconds=seconds,
        peak_mb=peak_mb(),
        gold=round(evaluation.gold, 4),
        gold_low=round(evaluation.low, 4),
        gold_high=round(evaluation.high, 4),
        win_rate=0.5,  # against itself, by definition
        win_low=0.5,
        win_high=0.5,
        parts=parts,
    )


def claims_right(model: Model, sampling: Sampling) -> float:
    """Share of right answers to false claims of the user ("I think X is Y, right?")."""
    from workbench.measure.evaluate import evaluate

    claims = [p.text for p in world.prompts("heldout", "claim") if not p.claim_is_true]
    evaluation: Evaluation = evaluate(model, random.Random(SEED).sample(claims, min(CLAIMS, len(claims))), sampling)
    return evaluation.parts["correct"].value


def sft_stage(settings: Settings, store: Store) -> Stage:
    start_time = time.monotonic()
    rater = SimulatedRater(seed=SEED)
    prompts = [
        *world.sample(DEMONSTRATIONS, "train", seed=2),
        *world.sample(HELD_OUT_DEMONSTRATIONS, "heldout", seed=2),
    ]
    store.add_prompts([p.text for p in prompts], "sandbox", [p.kind for p in prompts])
    store.add_many(
        [
            Demonstration(0, 0, p.text, rater.demonstrate(p.text), rater.name, source="sandbox", simulated=True)
            for p in prompts
        ]
    )
    say(f"SFT learns from {DEMONSTRATIONS} demonstrations by a simulated rater.")
    return stage_of(control.wait(settings.workspace, _launch(settings, store, "sft")), start_time, "sft")


def dpo_stage(settings: Settings, store: Store, model: Model) -> Stage:
    start_time = time.monotonic()
    choices = [
        *choose(settings, store, model, "train", CHOICES),
        *choose(settings, store, model, "heldout", HELD_OUT_CHOICES),
    ]
    store.add_many(choices)
    say(f"DPO learns from {CHOICES} choices of a simulated rater between two answers of the base.")
    return stage_of(control.wait(settings.workspace, _launch(settings, store, "dpo")), start_time, "dpo")


def reward_stage(settings: Settings, store: Store) -> Stage:
    start_time = time.monotonic()
    say(f"A reward model learns from the same {CHOICES} choices.")
    result = result_of(control.wait(settings.workspace, _launch(settings, store, "reward")))
    return Stage(
        name="reward",
        n=result.accuracy_n,
        seconds=round(time.monotonic() - start_time, 1),
        peak_mb=result.peak_mb,
        accuracy=result.accuracy,
        accuracy_low=result.accuracy_low,
        accuracy_high=result.accuracy_high,
        verdict=result.verdict,
    )


def ppo_stage(settings: Settings, store: Store, name: str, start_from: int | None, **values: int) -> Stage:
    """PPO on the newest reward model's score alone, from the base (few rounds, to stay within two minutes on a slow
    machine) or from the model of run `start_from`, which has less far to go and gains by more answers a round."""
    start_time = time.monotonic()
    say(f"PPO learns from the reward model alone, from {'the base' if start_from is None else f'run {start_from}'}.")
    return stage_of(
        control.wait(settings.workspace, _launch(settings, store, "ppo", start_from, **values)), start_time, name
    )


def _launch(settings: Settings, store: Store, method: str, start_from: int | None = None, **values: int) -> int:
    values |= {"seed": SEED} if not METHODS[method].answers else {"seed": SEED, "final_prompts": EVALUATED}
    # the demo shows what any reward model brings, and its table says the verdict
    return control.launch(settings, store, method, parse(method, values), start_from, allow_failed_gate=True).number


def choose(settings: Settings, store: Store, model: Model, split: str, n: int) -> list[Comparison]:
    """`n` simulated choices between two answers of the base. Pairs that look equally good are passed over."""
    from workbench.models.generate import generate

    rater, sides = SimulatedRater(seed=SEED), random.Random(SEED)
    prompts = world.sample(n, split, seed=3)
    store.add_prompts([p.text for p in prompts], "sandbox", [p.kind for p in prompts])
    comparisons: list[Comparison] = []
    pairs: set[tuple[str, frozenset[str]]] = set()  # the same two answers again would be the same choice again
    for turn in range(TURNS):
        seeds = [SEED + 2 * turn + 1, SEED + 2 * turn + 2]
        samplings = [Sampling(temperature=0.8, max_new_tokens=64, seed=seed) for seed in seeds]
        texts = [p.text for p in prompts for _ in seeds]
        answers = generate(model, texts, samplings[0], seeds=seeds * len(prompts))
        for k, p in enumerate(prompts):
            numbered = enumerate(zip(answers[2 * k : 2 * k + 2], samplings, strict=True), 1)
            two = [
                Response(i, 0, a.text, settings.model, None, s, 1.0, len(a.tokens), a.ended) for i, (a, s) in numbered
            ]
            sides.shuffle(two)
            vote = rater.choose(p.text, two[0].text, two[1].text)
            pair = (p.text, frozenset(r.text for r in two))
            if vote not in ("left", "right") or pair in pairs or not all(r.text.strip() for r in two):
                continue
            pairs.add(pair)
            best, worst = two if vote == "left" else two[::-1]
            groups, shown = ((best.id,), (worst.id,)), tuple(r.id for r in two)
            comparison = Comparison(0, 0, p.text, tuple(two), groups, shown, None, rater.name, True, source="sandbox")
            comparisons.append(comparison)
            if len(comparisons) == n:
                return comparisons
    raise RuntimeError(f"only {len(comparisons)} of {n} pairs differ: the base's answers are too alike")


def result_of(run: Run) -> RunResult:
    """What a run came to. Raises RuntimeError with the end of its log when it failed."""
    if run.state != "done" or not run.result:
        raise RuntimeError(f"{run.status.message}\n{run.log_tail()}")
    return run.result


def stage_of(run: Run, start_time: float, name: str) -> Stage:
    """The row of a finished run whose model answers."""
    result = result_of(run)
    return Stage(
        name=name,
        n=result.gold_n,
        seconds=round(time.monotonic() - start_time, 1),
        peak_mb=result.peak_mb,
        gold=result.gold,
        gold_low=result.gold_low,
        gold_high=result.gold_high,
        win_rate=result.win_rate,
        win_low=result.win_rate_low,
        win_high=result.win_rate_high,
        parts={part: round(figure["value"], 4) for part, figure in result.parts.items()},
    )


def vote_blind(settings: Settings, store: Store, model: Model) -> None:
    """Let the simulated rater vote blind between the base and the last model, so that Compare has something to show."""
    from workbench.models.generate import generate

    run = list_runs(settings.workspace)[0]
    adapter = model.attach(run.folder)
    rater, sides = SimulatedRater(seed=SEED), random.Random(SEED)
    sampling = Sampling(temperature=0.8, max_new_tokens=64, seed=SEED + 5)
    world_prompts = world.sample(VERDICTS, "heldout", seed=5)
    prompts = store.add_prompts([p.text for p in world_prompts], "sandbox", [p.kind for p in world_prompts])
    texts = [p.text for p in prompts for _ in range(2)]
    answers = generate(model, texts, sampling, adapters=[None, adapter] * len(prompts))
    for k, prompt in enumerate(prompts):
        two = store.add_responses(
            [
                Response(0, prompt.id, a.text, settings.model, number, sampling, 1.0, len(a.tokens), a.ended)
                for a, number in zip(answers[2 * k : 2 * k + 2], (None, run.number), strict=True)
            ]
        )
        sides.shuffle(two)
        vote = rater.choose(prompt.text, two[0].text, two[1].text)
        choice = vote if vote in ("tie", "bad") else two[vote == "right"].id
        store.add_verdict(prompt.id, [r.id for r in two], choice, rater.name, simulated=True)


def lead(settings: Settings, stages: Sequence[Stage]) -> dict[str, list[float]]:
    """Gold of the last stage minus that of each other trained one, on the same prompts, with its interval; printed, too."""
    from workbench.jobs.gold_between import gold_between

    *other_runs, last_run = (run for run in reversed(list_runs(settings.workspace)) if run.answers())
    *names, best = (stage.name for stage in stages[1:] if stage.gold is not None)
    rows = {}
    for name, other_run in zip(names, other_runs, strict=True):
        gap = gold_between(other_run, last_run)
        assert gap is not None
        say(f"{best} minus {name}, gold score on the same prompts: {gap.summary(3)}")
        rows[name] = [round(value, 4) for value in (gap.value, gap.low, gap.high)]
    return rows


def table(stages: Sequence[Stage]) -> str:
    """The stages as text, gold and win rate with their 95 % intervals."""
    parts = ("correct", "answers", "polite", "concise", "refuses", "truthful")
    header = f"{'stage':10}{'gold':>6}{'95 %':>14}{'win rate':>10}{'95 %':>14}" + "".join(f"{p:>10}" for p in parts)
    lines = [f"\n{header}{'seconds':>9}{'MB':>7}   (n {stages[0].n} held-out prompts; win rate against base)"]
    for s in stages:
        if s.accuracy is not None:
            accuracy = f"{s.accuracy:.2f} ({s.accuracy_low:.2f} to {s.accuracy_high:.2f})"
            summary = f"  agrees with {accuracy} of {s.n} held-out pairs; verdict {s.verdict}"
            lines.append(f"{s.name:10}{summary:{len(header) - 10}}{s.seconds:>9.0f}{s.peak_mb:>7.0f}")
            continue
        gold, win_rate = f"{s.gold_low:.2f} to {s.gold_high:.2f}", f"{s.win_low:.2f} to {s.win_high:.2f}"
        part_columns = "".join(f"{s.parts[p]:>10.2f}" if p in s.parts else f"{'':>10}" for p in parts)
        lines.append(
            f"{s.name:10}{s.gold:>6.2f}{gold:>14}{s.win_rate:>10.2f}{win_rate:>14}{part_columns}"
            f"{s.seconds:>9.0f}{s.peak_mb:>7.0f}"
        )
    return "\n".join(lines)

"""Best of n on unseen word problems: by process reward, by outcome reward, and by majority vote.

Where it holds: on problems harder than the base has practised (it had 2 to 12 and found 2 to 8; here 12 to 30 and 4 to
12), at temperature 1. It is right in 16 % of its answers there and often wrong in the same way, and a right one is
among 16 for 62 % of 1,000 problems. Votes weighted by a reward, n = 16, three trainings: process .352, outcome .292,
majority .258, all three apart beyond chance. The single answer with the highest reward: process .298 above both others,
outcome .251 against the majority's .258 within chance.
Where it does not: with `--own` numbers a vote among 16 is right for .983 of 300 problems; weighted votes are no better
beyond chance (.987 and .983), and the answer that a reward scores highest is worse, .900 with either (one seed, 1,000
problems to learn from, 200 updates).

The base answers training problems of two steps ("finds 5 and gives away 2"); every step is labelled by the worked
solution. Both rewards learn from the same answers, with the same LoRA, updates and seeds, each at the best rate of
those tried on validation problems (docs/log.md); only the labels differ: one per step, or one per answer. No problem they are tested
on has the text or the three numbers of one learned from. A reward chooses the answer that it scores highest, or weighs
votes: every answer votes for its final number with the probability that it is right (Li et al. 2023). Intervals are
over problems, on the mean of the seeds; differences are paired per problem (Student's t).

    python -m benchmarks.process_reward [--own] [--train 2000] [--test 1000] [--pool 16] [--steps 400] [--seeds 3]
                                        [--json FILE] [--html FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

from workbench import models, settings
from workbench.collect.simulated import RATER
from workbench.jobs import prepare, worker
from workbench.jobs.runs import find_run
from workbench.learn.catalogue import parse
from workbench.learn.rewards.process_reward_model import ProcessRewardModel, answer_score
from workbench.measure.best_of_n import expected_best, expected_majority
from workbench.measure.winrate import mean, paired_difference
from workbench.models.generate import generate
from workbench.records import Sampling, StepLabels, split_of
from workbench.sandbox import topics
from workbench.sandbox.steps import concluded, is_right, label_steps, split_steps
from workbench.sandbox.sums import PROBLEMS, THINGS
from workbench.store import Store

NS = (1, 2, 4, 8, 16)
OWN, LARGER = ((2, 12), (2, 8)), ((12, 30), (4, 12))  # what is had first, what is found
ANSWERS = 8  # to each problem learned from
RATES = {"process": 3e-3, "outcome": 2e-3}  # each the best of those tried on validation problems
NAMES = ("process", "process vote", "by product", "outcome", "outcome vote", "majority", "any right")
COMPARED = (
    ("process", "outcome"),
    ("process", "majority"),
    ("outcome", "majority"),
    ("process vote", "outcome vote"),
    ("process vote", "majority"),
    ("outcome vote", "majority"),
    ("process", "by product"),
)
COLOURS = {
    "process": "#0072B2",
    "outcome": "#D55E00",
    "majority": "#555555",
    "any right": "#009E73",
    "by product": "#56B4E9",
}
Pool = tuple[str, list[str]]  # a problem and the answers sampled to it


def problems(n: int, split: str, ranges: tuple[tuple[int, int], tuple[int, int]], seed: int) -> list[str]:
    """n different problems of one split; a fifth of all triples of numbers is held out too, and only for that split."""
    rng, texts = random.Random(seed), dict[str, None]()
    while len(texts) < n:
        a, b = (rng.randint(*some) for some in ranges)
        numbers = {"a": a, "b": b, "c": rng.randint(1, a + b - 1)}
        text = PROBLEMS["gives"].format(n=rng.choice(topics.NAMES), o=rng.choice(THINGS), **numbers)
        held = blake2b(repr(re.findall(r"\d+", text)).encode(), digest_size=1).digest()[0] % 5 == 0
        if split_of(text) == split and held == (split == "heldout"):
            texts[text] = None
    return list(texts)


def sample(texts: list[str], k: int) -> list[Pool]:
    """k answers of the base to each problem, at temperature 1."""
    repeated = [p for p in texts for _ in range(k)]
    sampling = Sampling(temperature=1.0, max_new_tokens=48)
    rows = generate(models.load("sandbox"), repeated, sampling, seeds=list(range(k)) * len(texts))
    return [(p, [row.text for row in rows[i * k : (i + 1) * k]]) for i, p in enumerate(texts)]


def labelled(pools: list[Pool]) -> dict[str, list[StepLabels]]:
    """Each answer twice: with its steps' labels, and as one step that is right or wrong as a whole."""
    process, outcome = [], []
    for prompt, answers in pools:
        for answer in filter(split_steps, answers):
            steps, labels = split_steps(answer), label_steps(prompt, answer) or []
            process.append(StepLabels(0, 0, prompt, tuple(steps), tuple(labels), RATER, simulated=True))
            right = 1 if is_right(prompt, answer) else -1
            outcome.append(StepLabels(0, 0, prompt, (answer,), (right,), RATER, simulated=True))
    return {"process": process, "outcome": outcome}


class Trained:
    """A workspace of one kind of labels, and the process rewards that the workbench's own job makes of them."""

    def __init__(self, folder: Path, rows: list[StepLabels]) -> None:
        self.settings = settings.load(folder)
        folder.mkdir(parents=True)
        self.store = Store(self.settings.database)
        self.answers = self.store.add_many(rows).steps

    def reward(self, steps: int, seed: int, learning_rate: float) -> tuple[ProcessRewardModel, float]:
        """One training, and the seconds it took."""
        values = {"steps": steps, "seed": seed, "learning_rate": learning_rate, "final_prompts": 0}
        run = prepare.prepare_run(self.settings, self.store, "prm", parse("prm", values))
        with (run.folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
            code = worker.main(run.folder)
        finished = find_run(self.settings.workspace, run.number)
        if code or finished.result is None:
            raise RuntimeError(f"{finished.status.message} See {run.folder / 'log.txt'}")
        return ProcessRewardModel(models.load("sandbox"), run.folder), finished.result.train_seconds or 0.0


class Tested:
    """Held-out problems with their answers: what choosing among n of them gives, as {n: a value per problem}."""

    def __init__(self, pools: list[Pool], ns: Sequence[int]) -> None:
        self.ns, self.size = ns, len(pools[0][1])
        self.prompts = [q for q, answers in pools for _ in answers]
        self.answers = [a for _, answers in pools for a in answers]
        self.right = [[float(is_right(q, a)) for a in answers] for q, answers in pools]
        self.conclusions = [[concluded(a) for a in answers] for _, answers in pools]

    def _by_problem(self, flat: list[float]) -> list[list[float]]:
        return [flat[k : k + self.size] for k in range(0, len(flat), self.size)]

    def best(self, scores: list[float]) -> dict[int, list[float]]:
        rows = list(zip(self._by_problem(scores), self.right, strict=True))
        return {n: [expected_best(s, v, n) for s, v in rows] for n in self.ns}

    def vote(self, weights: list[float] | None = None) -> dict[int, list[float]]:
        each = self._by_problem(weights or [1.0] * len(self.answers))
        rows = list(zip(self.conclusions, self.right, each, strict=True))
        return {n: [expected_majority(a, v, n, 50, weights=w) for a, v, w in rows] for n in self.ns}

    def by(self, name: str, rewards: ProcessRewardModel) -> dict[str, dict[int, list[float]]]:
        """What one reward chooses, by its score and by votes weighted with the probability that the answer is right."""
        steps = [[p for _, p in some] for some in rewards.steps(self.prompts, self.answers)]
        if name == "outcome":
            right = [some[-1][2] / (some[-1][0] + some[-1][2]) for some in steps]
            return {name: self.best(right), "outcome vote": self.vote(right)}
        scores, product = ([sum(answer_score(some, how)) for some in steps] for how in ("min", "product"))
        votes = self.vote([math.exp(s) for s in scores])
        return {name: self.best(scores), "process vote": votes, "by product": self.best(product)}


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--train", type=int, default=2000, help=f"problems to learn from, {ANSWERS} answers each")
    p.add_argument("--test", type=int, default=1000, help="held-out problems")
    p.add_argument("--pool", type=int, default=16, help="answers to each held-out problem")
    p.add_argument("--steps", type=int, default=400, help="updates of 32 answers")
    p.add_argument("--seeds", type=int, default=3, help="trainings of each reward")
    p.add_argument("--own", action="store_true", help="only numbers that the base has practised with")
    p.add_argument("--json", type=Path, metavar="FILE")
    p.add_argument("--html", type=Path, metavar="FILE", help="a figure: right answers over n, with intervals")
    args = p.parse_args()
    ns = [n for n in NS if n <= args.pool]
    ranges = OWN if args.own else LARGER
    rows = labelled(sample(problems(args.train, "train", ranges, 1), ANSWERS))
    tested = Tested(sample(problems(args.test, "heldout", ranges, 3), args.pool), ns)
    runs: list[dict[str, dict[int, list[float]]]] = []
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        trained = {name: Trained(Path(folder) / name, some) for name, some in rows.items()}
        for seed in range(args.seeds):
            runs.append({})
            for name, learner in trained.items():
                rewards, took = learner.reward(args.steps, seed, RATES[name])
                seconds.append(took)
                runs[-1] |= tested.by(name, rewards)
        answers = trained["process"].answers
        for learner in trained.values():
            learner.store.close()
    by = {name: {n: _mean_of([run[name][n] for run in runs]) for n in ns} for name in runs[0]}
    by["majority"] = tested.vote()
    by["any right"] = {n: [expected_best(v, v, n) for v in tested.right] for n in ns}
    result = report(by, runs, ns)
    labels = sum(len(row.labels) for row in set(rows["process"]))
    print(f"learned from {answers} answers, {labels} steps; a training took {sum(seconds) / len(seconds):.0f} s")
    result |= {"answers": answers, "labels": labels, "seconds": seconds, "updates": args.steps, "own": args.own}
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    if args.html:
        figure(result["rows"], args.html)
    return 0


def _mean_of(columns: list[list[float]]) -> list[float]:
    return [sum(some) / len(some) for some in zip(*columns, strict=True)]


def report(by: dict[str, dict[int, list[float]]], runs: list[Any], ns: Sequence[int]) -> dict[str, Any]:
    """Print rows over n, the paired differences at the largest n and each seed's figures; the same as plain data."""
    last, rows = ns[-1], []
    print(f"right answers to {len(by['majority'][last])} unseen word problems, best of n, with 95 % interval")
    print(" " * 14 + "".join(f"{f'n = {n}':>24}" for n in ns))
    for name in NAMES:
        shares = {n: asdict(mean(by[name][n], within=(0, 1))) for n in ns}
        rows += [{"by": name, "at": n, **v} for n, v in shares.items()]
        cells = [f"{v['value']:.3f} ({v['low']:.3f} to {v['high']:.3f})" for v in shares.values()]
        print(f"{name:14}" + "".join(f"{cell:>24}" for cell in cells))
    differences = []
    for a, b in COMPARED:
        d = paired_difference(by[b][last], by[a][last], (-1, 1))
        differences.append({"better": a, "than": b, "at": last, "clear": d.clear, **asdict(d)})
        word = "clear" if d.clear else "within chance"
        print(f"n = {last}: {a} - {b} = {d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f}), {word}")
    seeds = [{name: sum(run[name][last]) / len(run[name][last]) for name in run} for run in runs]
    for seed, shares in enumerate(seeds):
        print(f"seed {seed}, n = {last}: " + ", ".join(f"{name} {value:.3f}" for name, value in shares.items()))
    return {"rows": rows, "differences": differences, "seeds": seeds}


def figure(rows: list[dict[str, Any]], file: Path) -> None:
    """Right answers over n, a line with its interval as a band for each way to choose; one file that needs no network."""
    import plotly.graph_objects as go

    chart = go.Figure()
    for name in dict.fromkeys(row["by"] for row in rows):
        points = [row for row in rows if row["by"] == name]
        n, colour = [row["at"] for row in points], COLOURS[name.removesuffix(" vote")]
        band = [row["high"] for row in points] + [row["low"] for row in reversed(points)]
        group = {"legendgroup": name, "visible": "legendonly" if name in ("any right", "by product") else True}
        chart.add_scatter(
            x=n + n[::-1], y=band, mode="lines", fill="toself", fillcolor=colour, opacity=0.15, line_width=0, hoverinfo="skip",
            showlegend=False, **group,
        )  # fmt: skip
        line = {"color": colour, "dash": "dash" if name.endswith("vote") else "solid"}
        chart.add_scatter(x=n, y=[row["value"] for row in points], name=name, line=line, **group)
    chart.update_xaxes(title="n answers to choose from", type="log", tickvals=sorted({row["at"] for row in rows}))
    chart.update_yaxes(title="right answers, with 95 % interval", tickformat=".0%")
    chart.update_layout(template="plotly_white", title=f"Best of n on {rows[0]['n']} unseen word problems")
    chart.write_html(file)


if __name__ == "__main__":
    sys.exit(main())

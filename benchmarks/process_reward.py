"""Best of n on unseen word problems: by process reward, by outcome reward, and by majority vote.

The hope: at n = 16 the process reward beats the outcome reward, and that the majority. On the bundled model it does not
hold: on the world's own problems a vote among 16 is nearly always right and both rewards stay below it; on `--larger`
ones all three are within chance of each other. Beyond n = 4 to 8 the process reward chooses worse, not better: so
many samples find its errors.

The base answers training word problems; every step is labelled by the worked solution. Both rewards learn from the same
answers, with the same LoRA, updates and seed; only the labels differ: one per step, or one per answer. Held-out problems
are never trained on. Intervals are over problems; differences are paired per problem (bootstrap).

    python -m benchmarks.process_reward [--larger] [--train 240] [--test 150] [--pool 16] [--steps 160] [--json FILE]

`--larger` takes numbers mostly beyond the base's practice, where a vote is often wrong and there is something to gain.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench import models
from workbench.generate import generate
from workbench.learn import process_reward
from workbench.learn.process_reward import ProcessRewardArgs, Steps
from workbench.measure.best_of_n import Reward, expected_best, expected_majority
from workbench.measure.winrate import mean, paired_difference
from workbench.records import Sampling, split_of
from workbench.sandbox import topics, world
from workbench.sandbox.steps import concluded, is_right, label_steps, split_steps
from workbench.sandbox.sums import PROBLEMS, THINGS

NS = (1, 2, 4, 8, 16)
Pool = tuple[str, list[str]]  # a problem and the answers sampled to it


def sample(texts: list[str], k: int) -> list[Pool]:
    """k answers of the base to each problem, at temperature .8."""
    model = models.load("sandbox")
    asked = [p for p in texts for _ in range(k)]
    rows = generate(model, asked, Sampling(), seeds=list(range(k)) * len(texts))
    return [(p, [row.text for row in rows[i * k : (i + 1) * k]]) for i, p in enumerate(texts)]


def problems(n: int, split: str, larger: bool) -> list[str]:
    """n word problems of one split: the world's own, or with larger numbers than it practised with."""
    if not larger:
        return [q.text for q in world.prompts(split, "problem")[:n]]
    rng, found = random.Random(7), []
    while len(found) < n:
        topic = rng.choice(("gives", "more", "both", "left"))
        name, other = rng.sample(topics.NAMES, 2)
        a, b = rng.randint(12, 40), rng.randint(8, 20)
        a, b = (max(a, b + 1), min(a, b)) if topic == "left" else (a, b)
        numbers = {"a": a, "b": b, "c": rng.randint(8, a + b - 1)}
        text = PROBLEMS[topic].format(n=name, m=other, o=rng.choice(THINGS), **numbers)
        if split_of(text) == split and text not in found:
            found.append(text)
    return found


def labelled(pools: list[Pool]) -> tuple[list[Steps], list[bool]]:
    """Each answer with its steps' labels, and whether it comes to the right number."""
    rows, right = [], []
    for prompt, answers in pools:
        for answer in answers:
            steps, labels = split_steps(answer) or [""], label_steps(prompt, answer) or [0]
            rows.append(Steps(prompt, tuple(steps), tuple(labels)))
            right.append(is_right(prompt, answer))
    return rows, right


def worst(rewards: process_reward.ProcessRewardModel) -> Reward:
    """The process reward by an answer's worst step alone, instead of the product over its steps."""
    return lambda prompts, answers: rewards.score(prompts, answers, "min")


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--train", type=int, default=240, help="problems to learn from, 8 answers each")
    p.add_argument("--test", type=int, default=150, help="held-out problems")
    p.add_argument("--pool", type=int, default=16, help="answers to each held-out problem")
    p.add_argument("--steps", type=int, default=160, help="updates of 32 answers")
    p.add_argument("--larger", action="store_true", help="numbers mostly beyond the base's practice")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--json", type=Path, metavar="FILE")
    args = p.parse_args()
    ns = [n for n in NS if n <= args.pool]
    learned = sample(problems(args.train, "train", args.larger), 8)
    tested = sample(problems(args.test, "heldout", args.larger), args.pool)
    prompts = [q for q, answers in tested for _ in answers]
    answers = [a for _, some in tested for a in some]
    right = [[float(is_right(q, a)) for a in some] for q, some in tested]
    rows, outcomes = labelled(learned)
    chosen = ProcessRewardArgs(steps=args.steps, seed=args.seed)
    by: dict[str, dict[int, list[float]]] = {}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("process", rows), ("outcome", process_reward.whole(rows, outcomes))):
            began = time.perf_counter()
            rewards = process_reward.train(models.load("sandbox"), data, Path(folder) / name, chosen)
            seconds[name] = time.perf_counter() - began
            ways = {name: rewards.outcome} if name == "outcome" else {name: rewards.score, "worst step": worst(rewards)}
            for way, score in ways.items():
                scores = score(prompts, answers)
                pools = [scores[i * args.pool : (i + 1) * args.pool] for i in range(len(tested))]
                by[way] = {n: [expected_best(s, v, n) for s, v in zip(pools, right, strict=True)] for n in ns}
    said = [[concluded(a) for a in some] for _, some in tested]
    by["majority"] = {n: [expected_majority(s, v, n) for s, v in zip(said, right, strict=True)] for n in ns}
    by["any right"] = {n: [expected_best(v, v, n) for v in right] for n in ns}
    return report(by, ns, seconds, rows, args)


def report(by: dict[str, Any], ns: list[int], seconds: dict[str, float], rows: list[Steps], args: Any) -> int:
    last = ns[-1]
    print(f"right answers to {args.test} unseen word problems, best of n, with 95 % interval")
    print("          " + "".join(f"{f'n = {n}':>24}" for n in ns))
    table = {}
    for name, found in by.items():
        table[name] = {n: asdict(mean(values)) for n, values in found.items()}
        cells = [f"{v['value']:.3f} ({max(v['low'], 0):.3f} to {min(v['high'], 1):.3f})" for v in table[name].values()]
        print(f"{name:10}" + "".join(f"{cell:>24}" for cell in cells))
    differences = {}
    for a, b in (("outcome", "process"), ("majority", "outcome"), ("majority", "process")):
        d = paired_difference(by[a][last], by[b][last])
        differences[f"{b} - {a}"] = asdict(d)
        word = "clear" if d.clear else "within chance"
        print(f"n = {last}: {b} - {a} = {d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f}), {word}")
    labels = [label for row in rows for label in row.labels]
    print(f"learned from {len(rows)} answers, {len(labels)} steps; training took {seconds}")
    if args.json:
        result = {"rows": table, "differences": differences, "answers": len(rows), "labels": len(labels)}
        args.json.write_text(
            json.dumps(
                result | {"seconds": seconds, "seed": args.seed, "updates": args.steps, "larger": args.larger}, indent=1
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The commands that choose among n sampled answers by a reward: `best-of-n` measures, `rejection` stores the chosen."""

from __future__ import annotations

import argparse
from typing import Any

from workbench.cli.shared import Args, drop_too_long, model_options, prompts_of, settings_of, store_of
from workbench.records import how_many
from workbench.settings import Settings


def best_of_n_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reward", default="newest", help="run:NUMBER, gold, file:PATH.py or a sum (the newest reward model)"
    )
    parser.add_argument("--n", type=int, default=8, help="answers per prompt, of which the best is chosen (8)")
    parser.add_argument("--prompts", type=int, default=200, help="number of prompts (200)")
    parser.add_argument(
        "--from", dest="start_from", type=int, metavar="RUN", help="sample from this run's model (the base)"
    )
    parser.add_argument("--temperature", type=float, default=0.8, help="sampling temperature (0.8)")
    parser.add_argument("--max-new-tokens", type=int, default=64, help="longest answer (64)")
    parser.add_argument("--seed", type=int, default=0)
    model_options(parser)


def _sampler(args: Args, settings: Settings) -> dict[str, Any]:
    """The model that samples, the reward that chooses, and how: what both commands hand on."""
    from workbench import models
    from workbench.jobs.runs import find_run
    from workbench.learn.rewards import sources
    from workbench.records import Sampling

    reward, _ = sources.settle(args.reward, settings)
    model = models.load(settings.model, trust_remote_code=settings.trust_remote_code)
    start = args.start_from
    return {
        "model": model,
        "reward": sources.build(reward, settings.workspace / "runs", model),
        "n": args.n,
        "sampling": Sampling(temperature=args.temperature, max_new_tokens=args.max_new_tokens, seed=args.seed),
        "adapter": None if start is None else model.attach(find_run(settings.workspace, start).folder),
    }


def best_of_n(args: Args) -> int:
    """Measure what taking the best of n answers by a reward gains, without training anything."""
    from workbench.learn.rewards.sources import gold
    from workbench.measure import best_of_n as measure

    settings = settings_of(args)
    prompts, sampler = prompts_of(settings, "heldout", args.prompts, args.seed), _sampler(args, settings)
    answers = measure.best_of_n(prompts=drop_too_long(sampler["model"], prompts, args.max_new_tokens), **sampler)
    print(measure.gain(answers, gold if settings.model == "sandbox" and args.reward != "gold" else None))
    return 0


def rejection_options(parser: argparse.ArgumentParser) -> None:
    best_of_n_options(parser)
    parser.add_argument(
        "--keep", type=float, default=1.0, help="share of the prompts to keep, those where choosing gained most (1)"
    )
    parser.add_argument(
        "--allow-failed-gate",
        "--despite-red",  # its old name
        action="store_true",
        help="use a reward model whose verdict is red or missing",
    )


def rejection(args: Args) -> int:
    """Store the best of n answers to training prompts as demonstrations, for SFT to imitate."""
    from workbench.collect.rejection import collect
    from workbench.learn.rewards import sources, verdict

    settings = settings_of(args)
    reward_name, _ = sources.settle(args.reward, settings)
    verdict.hold(reward_name, settings.workspace, args.allow_failed_gate)
    with store_of(args) as store:
        candidates, sampler = prompts_of(settings, "train", args.prompts, args.seed), _sampler(args, settings)
        prompts = drop_too_long(sampler["model"], candidates, args.max_new_tokens)
        demonstrations = collect(store, prompts=prompts, keep=args.keep, by=reward_name, **sampler)
        total = store.counts()["demonstrations"]
    print(
        f"Stored the best of {args.n} by {reward_name} for {len(demonstrations):,} of {how_many(len(prompts), 'prompts')} "
        "as simulated "
        "demonstrations."
    )
    print(
        f"SFT can now learn from {how_many(total, 'answers')}: python -m workbench train sft --workspace {settings.workspace}"
    )
    return 0

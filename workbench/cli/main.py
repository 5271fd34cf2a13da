"""The command line: a table from a command's name to its function. The same functions as the page's.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.cli.runs import runs, runs_options
from workbench.cli.sampling import best_of_n, best_of_n_options, rejection, rejection_options
from workbench.cli.shared import Args, drop_too_long, model_options, prompts_of, settings_of, store_of
from workbench.records import how_many
from workbench.ui import serving

if TYPE_CHECKING:
    from workbench.jobs.runs import Run


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 a clear error on stderr, 2 wrong usage, 130 interrupted."""
    args = parser().parse_args(argv)
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        print(f"error: {' '.join(_in_flags(error, args).split())}", file=sys.stderr)
        return 1
    except Exception as error:  # a fault of ours: where it is, is told to who asks
        if os.environ.get("WORKBENCH_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(f"error: this did not work ({what}). WORKBENCH_TRACEBACK=1 shows where.", file=sys.stderr)
        return 1


def _in_flags(error: Exception, args: Args) -> str:
    """What went wrong; a wrong setting as it was typed: `--set beta=often: ...`, of commands without --set `--reward ...`."""
    from workbench.learn.catalogue import SettingError

    if not isinstance(error, SettingError):
        return str(error)
    return f"--set {error}" if hasattr(args, "set") else f"--{error.field} {error.value}: {error.why}"


def parser() -> argparse.ArgumentParser:
    prog = "alignment-workbench" if Path(sys.argv[0]).stem == "alignment-workbench" else "python -m workbench"
    top = argparse.ArgumentParser(prog=prog, description="Align a language model and see it happen.")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (function, options, line) in COMMANDS.items():
        sub = commands.add_parser(name, help=line, description=line)
        sub.add_argument("--workspace", metavar="DIR", help="where everything is stored (default: WORKBENCH_HOME)")
        options(sub)
        sub.set_defaults(run=function)
    return top


# serve


def serve(args: Args) -> int:
    """Start the page."""
    return serving.begin(args)


# demo


def _demo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def demo(args: Args) -> int:
    """Walk the whole loop with simulated raters."""
    from dataclasses import replace

    from workbench.demo import free_folder
    from workbench.demo import main as walk

    settings = settings_of(args)
    if args.workspace is None:
        settings = replace(settings, workspace=free_folder(settings.workspace))
    return walk(settings, as_json=args.json)


# import, export


def _import_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="JSONL, JSON, CSV (.gz, .zst, .xz too) or Parquet")
    parser.add_argument(
        "--as",
        dest="kind",
        choices=("prompts", "demonstrations", "comparisons", "steps"),
        help="recognised unless given",
    )
    parser.add_argument("--format", help="trl, alpaca, sharegpt, hh-rlhf, ...; recognised unless given")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME=COLUMN",
        help="which column is what, as in prompt=question or completion=turns.answer; repeat for more",
    )
    parser.add_argument("--rater", default="import", help="who made these judgements")
    parser.add_argument("--follow-links", action="store_true", help="read FILE even if it is a link to another file")


def import_(args: Args) -> int:
    """Read a file of prompts, demonstrations, comparisons or step labels into the workspace. Exit code 1 when the file
    gave nothing."""
    from workbench.collect.importing import column_map, import_file

    columns = column_map(args.map)
    with store_of(args) as store:
        report = import_file(
            store,
            args.file,
            as_=args.kind,
            format=args.format,
            rater=args.rater,
            columns=columns,
            follow_links=args.follow_links,
        )
    print(report)
    if report.empty:
        print(f"error: nothing was imported from {report.file}", file=sys.stderr)
    return int(report.empty)


def _export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("comparisons", "demonstrations", "prompts", "steps"))
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="its extension decides: .jsonl, .json, .csv or .parquet"
    )
    parser.add_argument("--format", default="trl", help="trl, alpaca, sharegpt, ...")


def export(args: Args) -> int:
    """Write what was collected to a file."""
    from workbench.collect.formats import write

    with store_of(args) as store:
        n = write(store, args.what, args.file, args.format)
    print(f"Wrote {how_many(n, args.what)} to {args.file}.")
    return 0


# train, run, runs, stop, resume


def _train_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", metavar="METHOD", help="sft, dpo, kto, orpo, reward, prm, ppo, rloo or grpo")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting; repeat for more")
    parser.add_argument("--preset", default="normal", help="quick, normal or thorough (normal)")
    model_options(parser)
    parser.add_argument("--from", dest="start_from", type=int, metavar="RUN", help="start from this run's model")
    parser.add_argument(
        "--allow-failed-gate",
        "--despite-red",  # its old name
        action="store_true",
        help="use a reward model whose verdict is red or missing",
    )
    _job_options(parser)
    parser.add_argument("--settings", action="store_true", help="list the method's settings instead")


def train(args: Args) -> int:
    """Train a model on what was collected."""
    from workbench import processes
    from workbench.jobs import control, prepare
    from workbench.learn import catalogue

    method = catalogue.method(args.method).name
    if args.settings:
        for row in catalogue.fields_of(method):
            value = "automatic" if row["value"] is None else row["value"]
            print(f"{row['name']:18} {value!s:10} {row['doc']}")
        return 0
    values = {}
    for item in args.set:
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"--set {item}: write it as NAME=VALUE")
        values[name.strip()] = value
    train_args, settings = catalogue.parse(method, values, args.preset), settings_of(args)
    catalogue.check_processes(method, train_args, args.processes)
    start = control.launch if args.processes == 1 else prepare.prepare_run
    with store_of(args) as store:
        run = start(settings, store, method, train_args, args.start_from, allow_failed_gate=args.allow_failed_gate)
    print(f"{run.title} in {run.folder}", flush=True)
    if args.processes > 1:
        return processes.torchrun(run.folder, args.processes)
    return 0 if args.detach else _follow(run)


def _follow(run: Run) -> int:
    """Print a run's progress until it ends. Ctrl-C leaves the job running."""
    import time

    from workbench.jobs.runs import find_run

    workspace, line, message = run.folder.parent.parent, 0, ""
    while True:
        run = find_run(workspace, run.number)
        rows, line = run.metrics(line)
        for row in rows:
            values = {k: v for k, v in row.items() if isinstance(v, float) and k[-4:] not in ("_low", "high")}
            if values and "step" in row:
                figures = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
                print(f"step {row['step']}/{run.status.steps}  {figures}", flush=True)
        if run.status.message not in ("", message):
            message = run.status.message
            print(message, flush=True)
        if not run.active:
            return 0 if run.state in ("done", "stopped") else 1
        time.sleep(0.2)


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="a run folder; - reads its name from standard input")


def run_(args: Args) -> int:
    """Be the job of a prepared run folder: what the page and `train` start."""
    from workbench.jobs import worker

    return worker.standby() if args.folder == "-" else worker.main(Path(args.folder))


def _number_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", type=int, metavar="RUN", help="the run's number")


def _job_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--detach", action="store_true", help="return at once; the job continues in the background")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="split every batch over N processes by torchrun (ppo only)",
    )


def _stop_options(parser: argparse.ArgumentParser) -> None:
    _number_option(parser)
    parser.add_argument("--save", action="store_true", help="finish the current step and keep the model")


def stop(args: Args) -> int:
    """Stop a run."""
    from workbench.jobs import control
    from workbench.jobs.runs import find_run

    settings = settings_of(args)
    run = control.stop(settings, find_run(settings.workspace, args.number), save=args.save)
    if run.active:
        run = control.wait(settings.workspace, run.number)
    print(run.status.message)
    return 0


def _resume_options(parser: argparse.ArgumentParser) -> None:
    _number_option(parser)
    _job_options(parser)


def resume(args: Args) -> int:
    """Go on with a stopped, failed or interrupted run from its newest intact checkpoint."""
    from workbench.jobs import control
    from workbench.jobs.runs import find_run

    settings = settings_of(args)
    run = control.resume(settings, find_run(settings.workspace, args.number))
    return 0 if args.detach else _follow(run)


# compare, score, sandbox


def _compare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=int, metavar="RUN", help="runs to compare with the base")
    parser.add_argument(
        "--prompt", action="append", metavar="TEXT", help="prompt to ask; repeat for more (default: held-out prompts)"
    )
    parser.add_argument("--n", type=int, default=5, help="number of held-out prompts (5)")
    parser.add_argument("--strength", type=float, default=1.0, help="0 is the base, 1 as trained (1)")
    parser.add_argument("--seed", type=int, default=0)
    model_options(parser)


def compare(args: Args) -> int:
    """Let the base and some runs answer the same prompts with the same seed."""
    from workbench import models
    from workbench.jobs.runs import find_run
    from workbench.measure.compare import compare as side_by_side
    from workbench.records import Sampling

    settings = settings_of(args)
    runs = [find_run(settings.workspace, n) for n in args.runs]
    for r in runs:
        if r.adapter is None:
            raise ValueError(f"run {r.number} has no trained model; it is {r.state}")
    prompts = args.prompt or prompts_of(settings, "heldout", args.n, args.seed)
    model = models.load(settings.model, trust_remote_code=settings.trust_remote_code)
    prompts = drop_too_long(model, prompts, Sampling().max_new_tokens)
    candidates = [(None, 0.0), *((model.attach(r.folder), args.strength) for r in runs)]
    names = ["base", *(r.title for r in runs)]
    result = side_by_side(model, prompts, candidates, Sampling(seed=args.seed))
    for answer in result.answers:
        if answer.model == 0:
            print(f"\n> {prompts[answer.prompt]}")
        gold = "" if answer.gold is None else f"  [gold {answer.gold:.2f}]"
        print(f"{names[answer.model]}: {answer.text}{gold}")
    return 0


def _score_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="JSONL or CSV with the fields prompt and response")
    parser.add_argument(
        "--reward-model",
        required=True,
        metavar="RUN",
        help="number or folder of the run of a reward model or process reward model",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write JSONL there (default: the terminal)")
    model_options(parser, "the base, if RUN is a folder without its config.json")


def score(args: Args) -> int:
    """Score answers with a reward of either kind. Lines that cannot be scored are named on stderr; the exit code is then 1."""
    from workbench import models
    from workbench.jobs.runs import find_run
    from workbench.learn.rewards.files import adapter_folder
    from workbench.learn.rewards.scoring import load, score_file
    from workbench.learn.run_files import config_of

    settings = settings_of(args)
    reward_model = args.reward_model
    folder = find_run(settings.workspace, int(reward_model)).folder if reward_model.isdigit() else Path(reward_model)
    adapter_folder(folder)  # before the model is loaded: a wrong folder is told at once
    config = config_of(folder)
    base = args.model or (config and config.model) or settings.model
    model = models.load(base, trust_remote_code=settings.trust_remote_code)
    rows, faults = score_file(load(model, folder), args.file)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if args.out:
        args.out.write_text(text, "utf-8")
        print(f"Wrote {how_many(len(rows), 'scores')} to {args.out}.")
    else:
        print(text, end="")
    for fault in faults:
        print(f"{args.file}, line {fault.line}: {fault.reason}", file=sys.stderr)
    return 1 if faults else 0


def _sandbox_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("build", "steps"), help="rebuild the model, or store simulated step labels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write it (the bundled model's folder)")


def sandbox(args: Args) -> int:
    """Make the bundled model again from its seed, or let it answer sums whose steps the worked solution labels."""
    if args.what == "steps":
        from workbench.collect import simulated
        from workbench.models import load

        with store_of(args) as store:
            n = simulated.label_answers(store, load("sandbox"), seed=args.seed)
            print(f"Stored {how_many(n, simulated.WHAT)}.")
        return 0
    from workbench.pretrain.build import build
    from workbench.settings import SANDBOX

    build(seed=args.seed, out=args.out or SANDBOX)
    return 0


Options = Callable[[argparse.ArgumentParser], None]
COMMANDS: dict[str, tuple[Callable[[Args], int], Options, str]] = {
    "serve": (serve, serving.add_options, "Start the page."),
    "demo": (demo, _demo_options, "Run the whole loop with simulated raters and print what each stage gained."),
    "import": (import_, _import_options, "Read prompts, demonstrations, comparisons or step labels from a file."),
    "export": (export, _export_options, "Write the collected data to a file."),
    "train": (train, _train_options, "Train a model on the collected data."),
    "run": (run_, _run_options, "Run the job of a prepared run folder."),
    "runs": (runs, runs_options, "List the runs, newest first, or name, star, delete or restore one."),
    "stop": (stop, _stop_options, "Stop a run."),
    "resume": (resume, _resume_options, "Resume a stopped, failed or interrupted run."),
    "compare": (compare, _compare_options, "Compare answers of the base and of runs to the same prompts."),
    "best-of-n": (best_of_n, best_of_n_options, "Measure the gain of choosing the best of n answers by a reward."),
    "rejection": (rejection, rejection_options, "Store the best of n answers by a reward as demonstrations for SFT."),
    "score": (score, _score_options, "Score answers with a reward model."),
    "sandbox": (sandbox, _sandbox_options, "Rebuild the bundled model from its seed, or simulate step labels."),
}

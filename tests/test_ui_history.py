"""The table of runs and the tools of one, without a browser: labels, the base's row, the headline, how little is read."""

from __future__ import annotations

import json
import os
import sys

import pytest

from tests import reward_runs
from workbench.jobs import prepare
from workbench.jobs.labels import relabel
from workbench.jobs.runs import Run, find_run, list_runs
from workbench.learn.catalogue import parse
from workbench.learn.run_files import RunConfig, RunLabel, RunResult, RunStatus, first_figures, read
from workbench.processes import write_status
from workbench.ui import compare, history, overview, rewards, train
from workbench.ui.context import Context, Refused
from workbench.ui.headline import headline


@pytest.fixture
def context(settings, store):
    for prompt in store.add_prompts([f"What is {i} plus {i}?" for i in range(12)], "person"):
        store.add_demonstration(prompt.id, "An answer.", "me")
    return Context(settings, store)


GOLD = {"gold": 0.91, "gold_low": 0.89, "gold_high": 0.93, "gold_n": 300}
GOLD |= {"base_gold": 0.59, "base_gold_low": 0.56, "base_gold_high": 0.62, "base_gold_n": 300}
WINS = {"win_rate": 0.74, "win_rate_low": 0.68, "win_rate_high": 0.78, "win_rate_n": 300}


def finished(context, result=None, started_by=None, **values):
    args = parse("sft", values, "quick")
    run = prepare.prepare_run(context.settings, context.store, "sft", args, started_by=started_by)
    (run.folder / "adapter").mkdir()
    (run.folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (run.folder / "result.json").write_text(json.dumps(result or {}))
    write_status(run.folder, state="done", seconds=7)
    return find_run(context.settings.workspace, run.number)


# Labels on the page


def test_a_name_and_a_star_stand_wherever_a_run_is_chosen(context):
    finished(context)
    reward_runs.folder(context.settings.workspace, 2)
    history.relabel(context, {"run": 1, "name": "Polite v2", "starred": True})
    history.relabel(context, {"run": 2, "name": "judge"})
    row = train.watch(context, {})["runs"][1]
    assert (row["label"], row["starred"], row["note"]) == ("Polite v2", True, "")
    assert row["title"] == "Run 1, Polite v2: SFT on 12 answers"
    plan = train.plan(context, {"method": "ppo", "preset": "quick", "settings": {}})
    assert plan["starts"][1]["label"] == "★ SFT, run 1 (Polite v2)"
    assert plan["reward"]["options"][0]["label"] == "run 2 (judge), reward model, green, 88 % (84 to 91)"
    assert compare.choices(context, {})["models"][1]["label"] == "★ SFT, run 1 (Polite v2)"


def test_a_new_label_reaches_a_page_that_watches(context):
    finished(context)
    first = train.watch(context, {})
    again = {"seen": 1, "stamp": first["stamp"]}
    assert train.watch(context, again)["runs"] is None
    history.relabel(context, {"run": 1, "note": "Seen by the other browser too."})
    news = train.watch(context, again)
    assert news["runs"][0]["note"] == "Seen by the other browser too." and news["stamp"] != first["stamp"]


def test_a_deleted_run_is_offered_back(context):
    finished(context)
    assert history.delete(context, {"run": 1}) == {"run": 1, "title": "SFT, run 1"}
    answer = train.watch(context, {})
    assert answer["runs"] == [] and answer["deleted"] == [{"run": 1, "folder": "0001-sft"}]
    history.restore(context, {"run": 1})
    answer = train.watch(context, {"stamp": answer["stamp"]})
    assert [run["number"] for run in answer["runs"]] == [1] and answer["deleted"] == []


# Where it lies, and who is told


def test_whoever_has_this_machine_is_told_path_and_command(context):
    run = finished(context)
    about = history.about(context, {"run": 1, "rater": "you"})
    assert about["folder"] == str(run.folder) and about["command"] == run.config.command
    assert [file["url"] for file in about["files"]] == ["run-files/1/adapter", "run-files/1/data"]
    (run.folder / "log.txt").write_text("one line\n")
    assert history.about(context, {"run": 1})["files"][2] == {"label": "Log", "url": "run-files/1/log"}
    with pytest.raises(Refused, match="There is no run 7"):
        history.about(context, {"run": 7})


def test_on_a_shared_page_only_whoever_started_a_run_is_told_its_path(context):
    context.shared = True
    finished(context, started_by="ann")
    finished(context, seed=1)
    assert history.about(context, {"run": 1, "rater": "ann"})["folder"]
    for run, rater in ((1, "bob"), (1, "you"), (2, "ann"), (2, "you")):
        about = history.about(context, {"run": run, "rater": rater})
        assert (
            about["folder"] is None and about["command"] is None and str(context.settings.workspace) not in str(about)
        )
        assert "started this run" in about["reason"] and about["files"]


# The base


def test_the_base_stands_in_the_table_with_its_own_figure(context):
    assert train.watch(context, {})["base"]["result"] == "–"
    finished(context, GOLD)
    base = train.watch(context, {})["base"]
    assert (base["result"], base["note"]) == ("0.59 (0.56 to 0.62)", "Gold score, n 300 held-out answers")


# The headline


def run_with(context, result, method="sft", start=(), state="done", parent=None):
    folder = context.settings.workspace / "runs" / "0009-x"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in start))
    config = RunConfig(number=9, method=method, model="m", args={}, parent=parent)
    return Run(9, folder, config, RunStatus(state=state), RunResult.model_validate(result))


@pytest.mark.parametrize(
    ("result", "outcome", "text"),
    [
        (GOLD | WINS, "better", "Better than the base: .91 against .59, wins 74 % (68 to 78)."),
        (
            GOLD | {"gold": 0.6} | {"win_rate": 0.52, "win_rate_low": 0.46, "win_rate_high": 0.58, "win_rate_n": 300},
            "unclear",
            "Not better than the base: .60 against .59, wins 52 % (46 to 58).",
        ),
        (
            GOLD | {"gold": 0.3} | {"win_rate": 0.2, "win_rate_low": 0.16, "win_rate_high": 0.25, "win_rate_n": 300},
            "worse",
            "Worse than the base: .30 against .59, wins 20 % (16 to 25).",
        ),
        # it wins more often and loses more by it: nothing is clear
        (GOLD | WINS | {"gold": 0.58}, "unclear", "Not better than the base: .58 against .59, wins 74 % (68 to 78)."),
        (GOLD, "better", "Better than the base: .91 against .59."),
        (GOLD | {"gold_low": 0.5}, "unclear", "Not better than the base: .91 against .59."),
        (GOLD | WINS | {"gold": 1.0, "base_gold": 0.0}, "better", "Better than the base: 1.00 against .00, wins 74 % (68 to 78)."),
    ],
)  # fmt: skip
def test_the_headline_is_the_truth_about_gold(context, result, outcome, text):
    assert headline(run_with(context, result)) == (outcome, text)


def figure(name, value, low, high, n):
    return {name: value, f"{name}_low": low, f"{name}_high": high, f"{name}_n": n}


@pytest.mark.parametrize(
    ("method", "before", "after", "parent", "text"),
    [
        ("sft", figure("heldout_loss", 2.31, 2.0, 2.6, 12), figure("heldout_loss", 1.52, 1.3, 1.7, 12), None,
         "Better than the base at predicting held-out answers: held-out loss 1.52 (1.30 to 1.70), n 12, against 2.31 (2.00 to 2.60)."),
        ("sft", figure("heldout_loss", 1.6, 1.4, 1.8, 12), figure("heldout_loss", 1.52, 1.3, 1.7, 12), 3,
         "Not better than its start (run 3) at predicting held-out answers: held-out loss 1.52 (1.30 to 1.70), n 12, against 1.60 (1.40 to 1.80)."),
        ("sft", figure("heldout_loss", 1.6, 1.5, 1.7, 12), figure("heldout_loss", 2.5, 2.3, 2.7, 12), None,
         "Worse than the base at predicting held-out answers: held-out loss 2.50 (2.30 to 2.70), n 12, against 1.60 (1.50 to 1.70)."),
        ("sft", {}, figure("heldout_loss", 2.5, 2.3, 2.7, 12), None, "Not compared with the base: held-out loss 2.50 (2.30 to 2.70), n 12."),
        ("dpo", figure("accuracy", 0.5, 0.42, 0.58, 80), figure("accuracy", 0.7, 0.6, 0.79, 80), None,
         "Better than the base at agreeing with held-out choices: 70 % right (60 to 79), n 80, against 50 % (42 to 58)."),
        ("reward", figure("accuracy", 0.5, 0.3, 0.7, 20), figure("accuracy", 0.6, 0.4, 0.8, 20), None,
         "Not better than before training at agreeing with held-out choices: 60 % right (40 to 80), n 20, against 50 % (30 to 70)."),
        ("ppo", {}, {"kl": 3.0}, None, "Not measured against the base: there is nothing held out."),
    ],
)  # fmt: skip
def test_without_gold_the_headline_says_what_was_held_out_and_no_more(context, method, before, after, parent, text):
    rows = [{"step": 0, **before}, {"step": 0, "kl": 0.0}, {"step": 1, "heldout_loss": 9.0, "accuracy": 0.1}]
    assert headline(run_with(context, after, method, rows, parent=parent)).text == text


def test_an_active_run_and_one_without_a_result_have_no_headline(context):
    assert headline(run_with(context, GOLD | WINS, state="running")) is None
    run = run_with(context, {})
    assert headline(Run(9, run.folder, run.config, RunStatus(state="failed"), None)) is None


def test_first_figures_survive_spoiled_lines(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text(
        'null\n{"step": 0, "heldout_loss": NaN}\n{"st\n{"step": 0, "accuracy": 0.5}\n{"step": 2, "accuracy": 1}\n'
    )
    assert first_figures(file).accuracy == 0.5 and first_figures(file).heldout_loss is None
    assert first_figures(tmp_path / "none") == RunResult()


# A hundred runs


listeners: list[list[str]] = []  # each is told of every file that this process opens


def hook(event, args):
    if event == "open" and isinstance(args[0], str):
        for paths in listeners:
            paths.append(args[0])


sys.addaudithook(hook)  # which cannot be taken away again


def opened(function, *args):
    """(its answer, the run files that it opened)"""
    listeners.append(paths := [])
    try:
        answer = function(*args)
    finally:
        listeners.remove(paths)
    return answer, [path for path in paths if f"{os.sep}runs{os.sep}" in path]


def test_of_a_hundred_runs_an_update_reads_only_what_has_changed(context):
    workspace = context.settings.workspace
    for number in range(1, 101):
        folder = reward_runs.folder(workspace, number)
        (folder / "metrics.jsonl").write_text('{"step": 0, "accuracy": 0.5, "accuracy_n": 70}\n')
        relabel(workspace, number, name=f"try {number}")
        for file in folder.rglob("*"):
            os.utime(file, (1_700_000_000, 1_700_000_000))
    first, files = opened(train.watch, context, {})
    assert len(first["runs"]) == 100 and len(files) >= 500
    again = {"seen": 100, "stamp": first["stamp"], "after": first["next"], "samples": 0}
    quiet, files = opened(train.watch, context, again)
    assert quiet["runs"] is None and len(json.dumps(quiet)) < 2500
    assert {os.path.basename(path) for path in files} <= {"metrics.jsonl", "samples.jsonl"} and len(files) <= 2  # noqa: PTH119
    for read_all in (overview.overview, compare.choices):
        assert opened(read_all, context, {})[1] == []
    assert opened(rewards.scorer_runs, context)[1] == []
    history.relabel(context, {"run": 50, "name": "the good one"})
    news, files = opened(train.watch, context, again)
    assert news["runs"][50]["label"] == "the good one"
    assert {path for path in files if "label.json" in path} == {str(workspace / "runs" / "0050-reward" / "label.json")}
    assert len(files) <= 3


def test_a_file_written_twice_in_one_tick_is_read_twice(tmp_path):
    file = tmp_path / "label.json"
    for name in ("one", "two", "six"):
        file.write_text(json.dumps({"name": name}))
        assert read(RunLabel, file).name == name


def test_a_file_that_was_kept_and_is_gone_is_gone(tmp_path):
    file = tmp_path / "label.json"
    file.write_text('{"name": "one"}')
    os.utime(file, (1_700_000_000, 1_700_000_000))
    assert read(RunLabel, file) is read(RunLabel, file)
    file.unlink()
    assert read(RunLabel, file) is None


def test_runs_sort_by_what_their_columns_hold(context):
    finished(context, GOLD)
    order = train.watch(context, {})["runs"][0]["order"]
    assert order == {"data": 12, "time": 7.0, "figure": "gold", "value": 0.91}
    assert len(list_runs(context.settings.workspace)) == 1

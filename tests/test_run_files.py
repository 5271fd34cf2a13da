"""The plain files of a run: what a job writes is what the page reads, and a spoiled file takes nothing else down."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests import small_runs
from workbench.jobs import worker
from workbench.jobs.labels import relabel
from workbench.jobs.prepare import prepare_run
from workbench.jobs.runs import find_run, list_runs, read_runs
from workbench.learn.catalogue import parse
from workbench.learn.engine.reporter import Reporter
from workbench.learn.run_files import (
    METRIC,
    Gate,
    RunConfig,
    RunResult,
    RunStatus,
    Scale,
    SpoiledFile,
    read,
    read_lines,
)
from workbench.ui import compare, history, overview, rewards, runs, score, shell, train
from workbench.ui.context import Context, Refused


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workspace with two finished runs, an SFT run and a reward model, each as its job left it."""
    folder = tmp_path_factory.mktemp("runs") / "space"
    made, store = small_runs.workspace(folder)
    for method in ("sft", "reward"):
        run = prepare_run(made, store, method, parse(method, small_runs.small(method)))
        assert worker.main(run.folder) == 0, run.log_tail()
    (find_run(folder, 1).folder / "answers.jsonl").write_text('{"prompt": "A", "answer": "b", "gold": 0.5}\n')
    relabel(folder, 1, name="named")
    store.close()
    return made


@pytest.fixture
def context(finished, tmp_path, store):
    """A page on a copy of that workspace."""
    shutil.copytree(finished.workspace / "runs", tmp_path / "space" / "runs")
    return Context(replace(finished, workspace=tmp_path / "space"), store)


# What is written is what is read


def test_what_a_job_wrote_the_page_shows(context):
    sft, reward = find_run(context.settings.workspace, 1), find_run(context.settings.workspace, 2)
    for run in (sft, reward):
        assert run.state == "done" and run.status.step == run.config.args["steps"] == run.result.steps
        for written in (run.config, run.config.data, run.status, run.result):
            assert not written.model_extra, "a reader must know every key that is written"
    held = json.loads((sft.folder / "result.json").read_text())
    text = (
        f"held-out loss {held['heldout_loss']:.2f} ({held['heldout_loss_low']:.2f} to {held['heldout_loss_high']:.2f})"
    )
    assert runs.result_text(sft) == (f"{text}, n {sft.config.data.heldout}", None)
    assert runs.result_text(reward)[0].endswith(f"n {reward.result.accuracy_n}") and reward.result.accuracy_n > 0
    assert runs.brief(reward)["verdict"]["level"] == json.loads((reward.folder / "gate.json").read_text())["verdict"]
    assert f"n {sft.config.data.heldout})" in (sft.folder / "README.md").read_text()


def test_the_bases_gold_is_read_as_it_is_written():
    result = {"base_gold": 0.59, "base_gold_low": 0.56, "base_gold_high": 0.62, "base_gold_n": 300}
    assert RunResult.model_validate(result).figure("base_gold") == (0.59, 0.56, 0.62, 300)
    assert RunResult.model_validate(result).figure("gold") is None


def test_keys_of_a_newer_version_survive(tmp_path):
    file = tmp_path / "config.json"
    config = {"number": 1, "method": "sft", "model": "m", "args": {"steps": 3, "new setting": "x"}, "new": [1]}
    file.write_text(json.dumps(config))
    read_back = read(RunConfig, file)
    assert read_back["new"] == [1] and read_back.args["new setting"] == "x" and read_back.as_json()["new"] == [1]


def test_an_older_folder_has_the_defaults_of_what_it_lacks(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"number": 4, "method": "process", "model": "sandbox", "args": {"steps": 3}}))
    config = read(RunConfig, file)
    assert config.method == "prm" and config.parent is None and config.data.n == 0 and config.despite == []
    assert config.args["batch_size"] == 32 and read(RunStatus, tmp_path / "status.json") is None
    assert RunStatus.model_validate({"step": None, "notices": None}) == RunStatus()


def test_a_status_that_no_reader_knows_is_refused(tmp_path):
    report = Reporter(tmp_path)
    with pytest.raises(TypeError, match=r"status\.json has no steep"):
        report.status(steep=3)
    report.close()


# Spoiled files


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        (RunConfig, '{"method": "sft", "model": "m", "args": {}}', "number: Field required"),
        (RunConfig, '{"number": 1, "method": "sfx", "model": "m", "args": {}}', "method: there is no method 'sfx'"),
        (RunConfig, '{"number": 1, "method": "sft", "model": "m", "args": {"steps": "many"}}', "args, steps: "),
        (RunStatus, '{"step": "three"}', "step: Input should be a valid integer"),
        (RunStatus, '{"eta_s": NaN}', "eta_s: Input should be a finite number"),
        (RunResult, "null", "Input should be a valid dictionary"),
        (RunResult, '{"gold": "high"}', "gold: Input should be a valid number"),
        (Gate, '{"verdict": "blue", "reason": ""}', "verdict: Input should be 'green', 'amber' or 'red'"),
        (Scale, '{"mean": 0}', "std: Field required"),
        (RunStatus, '{"step": 1', "it is not valid JSON: "),
        (RunStatus, "", "it is not valid JSON: "),
        (RunStatus, "[" * 100_000, "it is nested too deeply"),
    ],
)
def test_a_spoiled_file_is_named_with_what_is_wrong(tmp_path, kind, text, why):
    file = tmp_path / "0001-sft" / "a.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(SpoiledFile) as spoiled:
        read(kind, file)
    assert str(spoiled.value).startswith("0001-sft/a.json: ") and spoiled.value.why.startswith(why)


def test_lines_that_are_no_rows_are_left_out_and_named(tmp_path):
    file = tmp_path / "metrics.jsonl"
    lines = [
        '{"step": 1}',
        "null",
        '{"step": "two"}',
        '{"loss": 1}',
        "\udcff",
        '{"back_to": 0}',
        '{"step": 1, "loss": 2}',
        '{"st',
    ]
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    found = read_lines(file, METRIC)
    assert found.rows == [{"step": 1}, {"back_to": 0}, {"step": 1, "loss": 2}] and found.next == 7
    assert found.faults == [
        "metrics.jsonl, line 2 is left out: it is not a JSON object.",
        "metrics.jsonl, line 3 is left out: it has no usable step.",
        "metrics.jsonl, line 4 is left out: it has no usable step.",
        "metrics.jsonl, line 5 is left out: it is not valid JSON.",
    ]


def test_a_run_that_cannot_be_read_is_left_out_and_the_header_says_why(context):
    workspace = context.settings.workspace
    folder = find_run(workspace, 1).folder
    config = json.loads((folder / "config.json").read_text())
    del config["number"]
    (folder / "config.json").write_text(json.dumps(config))
    assert [run.number for run in list_runs(workspace)] == [2]
    assert read_runs(workspace)[1] == ["runs/0001-sft is left out: config.json, number: Field required."]
    assert overview.overview(context, {})["notices"] == [{"text": read_runs(workspace)[1][0]}]
    with pytest.raises(ValueError, match=r"0001-sft/config\.json: number"):
        find_run(workspace, 1)


def test_a_folder_whose_name_and_number_differ_is_left_out(context):
    workspace = context.settings.workspace
    folder = find_run(workspace, 1).folder
    folder.rename(folder.with_name("0007-sft"))
    assert [run.number for run in list_runs(workspace)] == [2] and "folder name" in read_runs(workspace)[1][0]


READS = [train.form, train.batch, overview.overview, train.plan, train.watch,  # the first two read no run
         train.log, train.differences, rewards.gate, history.about,
         score.choices, compare.choices, compare.tally, compare.measured]  # fmt: skip
STARTS = {"ask", "stream", "cancel", "vote", "undo", "reward", "measure", "stop_measuring", "score", "spoil", "start", "act",
          "simulate_steps", "relabel", "delete", "restore"}  # fmt: skip
SPOILT = ["", "null", "{\n", '{"step": "three", "verdict": 1}', 'null\n{"step": "three"}\n', "\ud800"]


def test_no_reading_of_the_page_is_forgotten(context, monkeypatch):
    offered = {}
    monkeypatch.setattr(shell, "panel", lambda context, name, functions, **_: offered.update({name: functions}))
    for tab in (train, score, compare):
        tab.tab(context)
    names = {function.__name__ for functions in offered.values() for function in functions}
    assert names <= {function.__name__ for function in READS} | STARTS


def plain_files(folder: Path) -> list[str]:
    """Those that a person may have opened in an editor; a checkpoint's are sealed by their hashes."""
    files = [f.relative_to(folder) for f in folder.rglob("*") if f.suffix in {".json", ".jsonl", ".txt", ".md"}]
    return sorted(str(f) for f in files if f.parts[0] != "checkpoints")


@pytest.mark.parametrize("number", [1, 2])
def test_whatever_file_of_a_run_is_spoiled_every_tab_still_opens(context, number):
    """Each file in turn, in several ways; what a call of the page cannot do it refuses in words."""
    workspace = context.settings.workspace
    folder = find_run(workspace, number).folder
    files = plain_files(folder)
    assert {"config.json", "status.json", "result.json", "metrics.jsonl", "adapter/adapter_config.json"} <= set(files)
    payloads = [
        {
            "method": method,
            "preset": "quick",
            "settings": {},
            "start_from": None,
            "run": run,
            "runs": both,
            "rater": "me",
        }
        for method, run, both in (("sft", number, [1, 2]), ("ppo", None, [None, 1]))
    ]
    for name in files:
        before = (folder / name).read_bytes()
        for text in SPOILT:
            (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
            for function in READS[2:]:
                for payload in payloads:
                    try:
                        json.dumps(function(context, payload), allow_nan=False)
                    except (Refused, ValueError) as refused:  # what the page shows as a sentence
                        assert str(refused), (name, text, function)
            notices = overview.overview(context, {})["notices"]
            there = {run["number"] for run in train.watch(context, {})["runs"]}
            assert there == {1, 2} or (there == {3 - number} and folder.name in notices[0]["text"]), (name, text)
        (folder / name).write_bytes(before)

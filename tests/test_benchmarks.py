"""Every benchmark runs, as small as it can be: what it calls of the workbench is still there. No figure is held to."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(file: Path, name: str, *arguments: str) -> list | dict:
    """What the benchmark writes to `file`."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments, "--json", str(file)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(file.read_text("utf-8"))


@pytest.mark.slow
def test_the_overhead_of_each_method_is_measured_against_bare_trl(tmp_path):
    rows = run(tmp_path / "rows.json", "overhead", "--steps", "2", "--repeats", "1")
    assert [row["method"] for row in rows] == ["sft", "dpo", "reward"]
    assert all(row["steps_per_s_ours"] > 0 and row["steps_per_s_trl"] > 0 for row in rows)


@pytest.mark.slow
def test_the_rollout_is_measured_and_says_what_generate_says(tmp_path):
    rows = run(tmp_path / "rows.json", "rollout", "--batch", "2", "--repeats", "1", "--new", "8")
    assert [(row["mode"], row["equal_rows"]) for row in rows] == [("natural", 2), ("adapter", 2), ("fixed", 2)]


@pytest.mark.slow
def test_ppo_is_measured_on_our_side_of_the_comparison(tmp_path):
    from benchmarks import ppo_vs_trl

    case = replace(ppo_vs_trl.CASES["sandbox"], prompts=32, batch=8, micro_batch=8)
    ppo_vs_trl.prepare(case, tmp_path, 2)  # the first warms up
    side = [sys.executable, "-m", "benchmarks.ppo_vs_trl", "--side", "ours", "--folder", str(tmp_path)]
    process = subprocess.run(side, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert process.returncode == 0, process.stderr[-2000:]
    figures = json.loads(process.stdout.rpartition("RESULT ")[2])
    assert figures["episodes_per_s"] > 0, figures


@pytest.mark.long
def test_process_and_outcome_rewards_are_compared(tmp_path):
    arguments = ("--train", "24", "--test", "8", "--pool", "2", "--steps", "2", "--seeds", "1")
    result = run(tmp_path / "result.json", "process_reward", *arguments)
    assert {row["by"] for row in result["rows"]} >= {"process", "outcome", "majority"}


@pytest.mark.long
@pytest.mark.browser
def test_a_long_run_is_watched_from_the_page(tmp_path):
    result = run(tmp_path / "result.json", "long_run", "--steps", "40", "--batch", "8", "--seconds", "1")
    assert result["steps"] == 40


@pytest.mark.long
@pytest.mark.browser
def test_a_vote_and_a_start_are_timed_in_the_page(tmp_path):
    rows = run(tmp_path / "rows.json", "page", "--votes", "1", "--starts", "1")
    assert [len(values) for values in rows.values()] == [1, 1]


@pytest.mark.long
def test_the_first_page_is_timed_against_an_empty_one(tmp_path):
    run(tmp_path / "rows.json", "startup")

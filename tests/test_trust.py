"""A red or untested reward model is optimised only when somebody says so, and the run says that they did."""

import pytest

from tests import reward_runs
from workbench.cli import main
from workbench.jobs import control
from workbench.jobs.runs import find_run, list_runs
from workbench.learn.rewards import verdict
from workbench.learn.rewards.verdict import Distrusted, verdicts


@pytest.mark.parametrize(
    ("level", "said", "trusted"),
    [("green", "green", True), ("amber", "amber", True), ("red", "red", False), (None, "untested", False)],
)
def test_the_verdict_is_read_from_the_runs_gate(settings, level, said, trusted):
    found = verdict.verdict(reward_runs.folder(settings.workspace, 3, level))
    assert (found.run, found.level, found.trusted) == (3, said, trusted)


def test_every_reward_model_of_a_sum_is_asked(settings):
    for number, level in ((1, "green"), (2, "red"), (3, None)):
        reward_runs.folder(settings.workspace, number, level)
    found = verdicts("run:3 + 0.5*run:1 + gold + run:2 + run:3", settings.workspace)
    assert [v.run for v in found] == [3, 1, 2]
    with pytest.raises(Distrusted) as refused:
        verdict.hold("run:3 + run:1 + run:2", settings.workspace, allow_failed_gate=False)
    text = str(refused.value)
    assert "run 3 is not tested" in text and "run 2 is red: It agrees with 52 %" in text and "run 1" not in text
    assert "Rank more pairs." in text and "--allow-failed-gate" in text
    assert verdict.hold("gold + run:1", settings.workspace, allow_failed_gate=False) == []


@pytest.mark.parametrize("level", ["red", None])
def test_a_run_on_a_distrusted_model_needs_a_word_and_keeps_it(settings, store, level):
    reward_runs.folder(settings.workspace, 1, level)
    with pytest.raises(Distrusted, match="run 1 is"):
        reward_runs.ppo(settings, store)
    assert [r.number for r in list_runs(settings.workspace)] == [1]
    run = reward_runs.ppo(settings, store, allow_failed_gate=True)
    assert run.config["args"]["reward"] == "run:1"
    assert len(run.config["despite"]) == 1 and run.config["despite"][0].startswith("run 1 is ")
    assert "--allow-failed-gate" in run.config["command"]
    assert f"Started anyway although {run.config['despite'][0]}" in (run.folder / "README.md").read_text()


@pytest.mark.parametrize("level", ["green", "amber"])
def test_a_trusted_model_needs_none_and_the_word_is_not_kept_in_vain(settings, store, level):
    reward_runs.folder(settings.workspace, 1, level)
    run = reward_runs.ppo(settings, store, allow_failed_gate=True)
    assert run.config["despite"] == [] and "--allow-failed-gate" not in run.config["command"]
    assert "all the same" not in (run.folder / "README.md").read_text()


def test_the_command_line_refuses_in_one_line_and_takes_the_flag(settings, store, capsys, monkeypatch):
    reward_runs.folder(settings.workspace, 1, "red")
    words = ["train", "ppo", "--workspace", str(settings.workspace), "--detach"]
    assert main.main(words) == 1
    said = capsys.readouterr().err
    assert "run 1 is red" in said and "Rank more pairs." in said and "--allow-failed-gate" in said
    monkeypatch.setattr(control, "start", lambda settings, run: run)
    assert main.main([*words, "--allow-failed-gate"]) == 0
    assert find_run(settings.workspace, 2).config["despite"]

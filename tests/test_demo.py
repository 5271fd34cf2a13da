"""The demo: the whole loop through the page's functions. Small here; its full figures are a long test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench import demo
from workbench.cli import main
from workbench.jobs.runs import list_runs
from workbench.settings import SANDBOX
from workbench.store import Store
from workbench.ui.runs import result_text

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SANDBOX / "model.safetensors").is_file(), reason="the bundled model is not built"),
]
KEYS = {"name", "gold", "gold_low", "gold_high", "n", "parts", "win_rate", "win_low", "win_high", "seconds", "peak_mb"}
JUDGE = {"name", "accuracy", "accuracy_low", "accuracy_high", "n", "verdict", "seconds", "peak_mb"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(stages, workspace) of a demo with few answers and few steps."""
    place = tmp_path_factory.mktemp("demo") / "space"
    sizes = {"DEMONSTRATIONS": 12, "CHOICES": 16, "HELD_OUT_DEMONSTRATIONS": 4, "HELD_OUT_CHOICES": 4}
    sizes |= {"EVALUATED": 24, "CLAIMS": 8, "VERDICTS": 5}
    training = {"steps": 2, "batch_size": 4, "evaluate_every": 2, "live_prompts": 4}
    judging = {key: value for key, value in training.items() if key != "live_prompts"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name, value in sizes.items():
            patch.setattr(demo, name, value)
        plain = demo.parse
        patch.setattr(
            demo, "parse", lambda method, values: plain(method, values | (judging if method == "reward" else training))
        )
        lines = []
        patch.setattr(demo, "say", lines.append)
        assert main.main(["demo", "--json", "--workspace", str(place)]) == 0
    return json.loads(lines[-1]), place, "\n".join(lines[:-1])


def test_the_last_line_is_the_object_that_was_promised(small):
    summary, _, _ = small
    assert [s["name"] for s in summary["stages"]] == ["base", "sft", "dpo", "reward", "ppo", "sft+ppo"]
    assert summary["seconds_total"] > 0
    judge = summary["stages"].pop(3)
    assert set(judge) == JUDGE and judge["n"] == 4 and judge["verdict"] in ("green", "amber", "red")
    assert judge["accuracy_low"] <= judge["accuracy"] <= judge["accuracy_high"]
    for stage in summary["stages"]:
        assert set(stage) == KEYS
        assert stage["n"] == 24
        assert stage["gold_low"] <= stage["gold"] <= stage["gold_high"]
        assert stage["win_low"] <= stage["win_rate"] <= stage["win_high"]
        assert 0 <= stage["parts"]["correct"] <= 1 and stage["peak_mb"] > 100
    base = summary["stages"][0]
    styles = [v for k, v in base["parts"].items() if k.startswith("style_")]
    assert sum(styles) == pytest.approx(1.0, abs=0.01)
    assert 0 <= base["parts"]["claims_right"] <= 1
    gold = {stage["name"]: stage["gold"] for stage in summary["stages"]}
    assert list(summary["lead"]) == ["sft", "dpo", "ppo"]
    for name, (value, low, high) in summary["lead"].items():
        assert value == pytest.approx(gold["sft+ppo"] - gold[name], abs=2e-4) and low <= value <= high


def test_the_workspace_has_something_to_look_at_and_says_it_is_simulated(small):
    _, place, output = small
    with Store(place / "workbench.db") as store:
        counts = store.counts()
        assert counts["simulated_demonstrations"] == counts["demonstrations"] == 16
        assert counts["simulated_comparisons"] == counts["comparisons"] == 20
        assert counts["simulated_verdicts"] == counts["verdicts"] == 5
        splits = [c.prompt for c in store.comparisons()]
        assert len(splits) == 20
        assert all(r.author == "model" and r.run is None for c in store.comparisons() for r in c.responses)
        assert all("simulated" in c.rater for c in store.comparisons())
    runs = list_runs(place)
    assert [(r.method, r.state) for r in runs] == [
        (method, "done") for method in ("ppo", "ppo", "reward", "dpo", "sft")
    ]
    *_, reward, dpo, sft = runs
    assert dpo.config["data"]["train"] == reward.config["data"]["train"] == 16 and sft.config["data"]["train"] == 12
    assert dpo.config["data"]["simulated"] == 20
    assert [r.config["parent"] for r in runs[:2]] == [sft.number, None]
    assert all(r.config["args"]["reward"] == f"run:{reward.number}" for r in runs[:2])
    assert all(r.adapter for r in runs if r is not reward)  # a reward model answers nothing
    assert "simulated" in output


def test_figures_of_base_and_result_agree(small):
    summary, place, _ = small
    for run in list_runs(place):
        if run.method == "reward":
            continue
        assert run.result.base_gold == pytest.approx(summary["stages"][0]["gold"], abs=1e-4)
        assert f"; base {run.result.base_gold:.2f} (" in result_text(run)[1]
        assert not run.result.model_extra, "a reader must know every key that is written"


def test_a_workspace_in_use_is_left_alone(small, capsys):
    _, place, _ = small
    assert main.main(["demo", "--workspace", str(place)]) == 1
    assert "name a new folder with --workspace" in capsys.readouterr().err


def test_without_a_folder_it_takes_a_new_one(tmp_path):
    assert demo.free_folder(tmp_path) == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    assert demo.free_folder(tmp_path) == tmp_path / "demo-2"


@pytest.mark.long
def test_the_figures_that_the_readme_promises(tmp_path):
    command = [sys.executable, "-m", "workbench", "demo", "--json", "--workspace", str(tmp_path / "space")]
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=env, cwd=Path(__file__).parent.parent, check=True
    )
    summary = json.loads(done.stdout.splitlines()[-1])
    base, sft, dpo, reward, ppo, both = summary["stages"]
    assert base["n"] >= 300 and base["gold"] <= 0.72
    for style in ("curt", "rude", "flattering", "rambling", "another", "wrong", "caving", "unsafe"):
        assert base["parts"][f"style_{style}"] >= 0.03, style
    assert base["parts"]["claims_right"] >= 0.5
    assert sft["gold"] - base["gold"] >= 0.15 and sft["win_rate"] >= 0.70
    assert dpo["gold"] - base["gold"] >= 0.12 and dpo["win_rate"] >= 0.70
    assert reward["accuracy"] >= 0.80 and reward["n"] >= 250
    assert ppo["gold"] - base["gold"] >= 0.15 and ppo["win_rate"] >= 0.70
    assert summary["lead"]["sft"][1] > 0 and summary["lead"]["dpo"][1] > 0  # beyond chance, paired
    assert both["gold"] == max(stage["gold"] for stage in (base, sft, dpo, ppo, both))

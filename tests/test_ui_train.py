"""The Train tab's functions, without a browser: what the form offers, what Start does, what is new in a run."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace

import pytest

from tests import reward_runs
from workbench import processes
from workbench.jobs import control, prepare
from workbench.jobs.runs import Run, find_run, list_runs
from workbench.learn.catalogue import METHODS, parse
from workbench.learn.run_files import DataCounts, RunConfig, RunResult, RunStatus
from workbench.processes import write_status
from workbench.records import Response
from workbench.ui import rewards, runs, train
from workbench.ui.context import Context, Refused


@pytest.fixture
def context(settings, store):
    return Context(settings, store)


@pytest.fixture
def filled(context):
    """A context with 30 answers and 30 ranked pairs, ten of each from simulated raters."""
    store = context.store
    for i, prompt in enumerate(store.add_prompts([f"What is {i} plus {i}?" for i in range(30)], "person")):
        store.add_demonstration(prompt.id, "An answer.", "me", simulated=i < 10)
        good, bad = store.add_responses([Response(0, prompt.id, text, "sandbox") for text in ("Yes.", "no!")])
        store.add_comparison(prompt.id, [good, bad], [[good.id], [bad.id]], [good.id, bad.id], "me", simulated=i < 10)
    return context


@pytest.fixture
def not_started(monkeypatch):
    """Runs are prepared but no process is started for them."""
    monkeypatch.setattr(control, "start", lambda settings, run: run)


def asked(**changes):
    return {"method": "sft", "preset": "normal", "settings": {}, "start_from": None} | changes


def prepared(context, method="sft", preset="quick", parent=None, **values):
    return prepare.prepare_run(context.settings, context.store, method, parse(method, values, preset), parent)


def state(run, **changes):
    """Give a prepared run a state, with this process as its own while it is active."""
    write_status(run.folder, pid=os.getpid(), pid_start=processes.identity(os.getpid()), **changes)


def append(run, *rows, name="metrics.jsonl"):
    with (run.folder / name).open("a") as file:
        file.writelines((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


# The form


def test_the_form_offers_every_method_with_its_settings_and_curves(context):
    form = train.form(context, {})
    assert [m["name"] for m in form["methods"]] == list(METHODS)
    sft = form["methods"][0]
    rate = next(f for f in sft["fields"] if f["name"] == "learning_rate")
    assert rate["doc"] and (rate["low"], rate["high"]) == (1e-8, 1.0)
    for method in form["methods"]:
        assert 2 <= len(form["curves"][method["name"]]) <= 12
        assert all(curve["sentence"] for curve in form["curves"][method["name"]])
    assert json.loads(json.dumps(form, allow_nan=False)) is not None


def test_plotly_is_served_from_the_installed_package(context):
    file = train.form(context, {})["plotly"].removeprefix("gradio_api/file=")
    assert os.path.getsize(file) > 1_000_000  # noqa: PTH202


def test_without_data_the_plan_says_so_word_for_word(context):
    sft, dpo = (train.plan(context, asked(method=m)) for m in ("sft", "dpo"))
    assert dpo["problem"] == "DPO needs ranked pairs. There are none yet."
    assert dpo["missing"] == {"tab": "rank", "label": "Rank some"}
    assert sft["missing"] == {"tab": "demonstrate", "label": "Write some"}
    assert not sft["ready"] and not dpo["ready"] and not dpo["has_batch"]


def test_the_plan_counts_the_data_and_says_which_is_simulated(filled):
    plan = train.plan(filled, asked())
    heldout = sum(p.split == "heldout" for p in filled.store.prompts())
    assert plan["data"] == f"{30 - heldout} answers for training, {heldout} held out; 10 from simulated raters"
    assert plan["length"].startswith("40 steps, about ")
    assert plan["ready"] and plan["start"] == "Start" and plan["memory"]["text"].startswith("fits: ")


def test_counts_have_the_number_of_their_noun(context):
    (prompt,) = context.store.add_prompts(["What is 2 + 2?"], "person")
    context.store.add_demonstration(prompt.id, "Four.", "you")
    sft = train.plan(context, asked(settings={"steps": "1"}))
    assert (sft["lines"]["sft"], sft["data"]) == ("Imitates your 1 answer.", "1 answer for training, none held out")
    assert sft["length"].startswith("1 step, about ")
    assert sft["lines"]["kto"] == "Learns from answers marked good or bad."
    counts = DataCounts(n=1, train=0, heldout=1, unit="answers")
    assert train._data_text(counts) == "no answers for training, 1 held out"


def test_practice_prompts_are_counted_and_those_of_the_workspace_named():
    assert METHODS["ppo"].summary(2021, 30) == "Practises on 2,021 prompts (30 yours) to raise its reward."
    assert METHODS["ppo"].summary(30, 30) == "Practises on 30 prompts to raise its reward."
    assert METHODS["kto"].summary(41, 5) == "Learns from 41 answers marked good or bad."


def test_the_plan_shows_the_command_of_just_these_choices(filled):
    command = train.plan(filled, asked(preset="quick", settings={"seed": "3"}))["command"]
    assert " train sft " in command and "--preset quick" in command and "--set=seed=3" in command


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("steps", "many", "Not a number."),
        ("steps", "1.5", "Must be a whole number."),
        ("learning_rate", "2", "Must be at most 1."),
        ("schedule", "up: and down", "Must be one of linear, cosine, constant."),
        ("micro_batch", "3", "Must divide batch_size (16) evenly."),
    ],
)
def test_a_wrong_setting_is_answered_beside_its_field(filled, name, value, text):
    plan = train.plan(filled, asked(settings={name: value}))
    assert plan["errors"] == {name: text}
    assert not plan["ready"]
    with pytest.raises(Refused):
        train.start(filled, asked(settings={name: value}, token="12345678"))


@pytest.mark.parametrize(
    "payload",
    [
        {"method": "magic"},
        {"method": None},
        {"preset": "forever"},
        {"settings": [1]},
        {"settings": {"steps": {"a": 1}}},
        {"settings": {"nothing_like_it": "1"}},
        {"start_from": 99},
        {"start_from": "../1"},
    ],
)
def test_what_the_page_could_not_have_sent_is_refused(filled, payload):
    with pytest.raises(Refused):
        train.plan(filled, asked(**payload))


def test_the_first_batch_is_the_text_that_the_model_reads(filled):
    items = train.batch(filled, asked())["batch"]
    assert len(items) == 16
    assert all("What is" in item["prompt"] and "An answer." in item["completion"] for item in items)


# Starting


def test_two_clicks_are_one_run(filled, not_started):
    first = train.start(filled, asked(token="a click of mine"))
    assert train.start(filled, asked(token="a click of mine")) == first
    assert train.start(filled, asked(token="in another tab")) == first
    assert len(list_runs(filled.settings.workspace)) == 1


def aged(context, run, seconds, **changes):
    """As if the run had been started so long ago."""
    folder = find_run(context.settings.workspace, run).folder
    prepared = json.loads((folder / "status.json").read_text())["prepared"]
    write_status(folder, prepared=prepared - seconds, **changes)


def test_the_same_settings_from_another_tab_are_asked_about_and_start_only_when_meant(filled, not_started):
    first = train.start(filled, asked(token="a click of mine"))["run"]
    aged(filled, first, 5)
    answer = train.start(filled, asked(token="in another tab"))
    assert answer["run"] == first and answer["ask"].startswith(f"Run {first} has the same settings and the same data")
    assert len(list_runs(filled.settings.workspace)) == 1
    assert "ask" not in train.start(filled, asked(token="other settings", settings={"seed": "7"}))
    second = train.start(filled, asked(token="meant so", again=True))
    assert second == {"run": 3} and len(list_runs(filled.settings.workspace)) == 3


@pytest.mark.parametrize(("state", "seconds", "asks"), [("done", 30, True), ("done", 90, False), ("failed", 30, False)])
def test_a_run_that_just_ended_well_is_asked_about_too(filled, not_started, state, seconds, asks):
    run = train.start(filled, asked(token="a click of mine"))["run"]
    aged(filled, run, seconds, state=state)
    assert ("ask" in train.start(filled, asked(token="in another tab"))) is asks


def test_the_command_line_never_asks(filled):
    prepared(filled)
    aged(filled, 1, 5)
    assert prepared(filled).number == 2


def test_a_start_with_a_token_that_is_too_short_changes_nothing(filled):
    with pytest.raises(Refused, match="token"):
        train.start(filled, asked(token="short"))
    assert list_runs(filled.settings.workspace) == []


def test_missing_data_is_refused_in_words(context):
    with pytest.raises(Refused, match="SFT needs written answers"):
        train.start(context, asked(token="12345678"))


def test_start_waits_its_turn_by_name(filled, not_started):
    train.start(filled, asked(token="the first one"))
    assert train.plan(filled, asked())["start"] == "Start after run 1"


def test_an_action_must_be_one_of_a_run(filled, not_started):
    run = train.start(filled, asked(token="12345678"))["run"]
    for payload in ({"run": run, "action": "explode"}, {"run": 77, "action": "stop"}, {"run": None}, {"run": True}):
        with pytest.raises(Refused):
            train.act(filled, payload)


def test_a_run_that_has_not_begun_can_be_stopped(filled, not_started):
    run = train.start(filled, asked(token="12345678"))["run"]
    train.act(filled, {"run": run, "action": "stop"})
    shown = train.watch(filled, {"run": run})["shown"]
    assert shown["state"] == "stopped" and shown["line"] == "Stopped at step 0. No model was saved yet."


# What is raised


def plan_of(context, reward="newest", **changes):
    return train.plan(context, asked(method="ppo", settings={"reward": reward}, **changes))


def test_a_method_that_raises_a_reward_offers_what_there_is(filled):
    for number, level in ((1, "green"), (2, "amber"), (3, None)):
        reward_runs.folder(filled.settings.workspace, number, level)
    reward_runs.folder(filled.settings.workspace, 4, "green", model="another/base")
    reward = plan_of(filled)["reward"]
    assert [o["value"] for o in reward["options"]] == ["run:3", "run:2", "run:1", "gold"]
    assert reward["options"][2]["label"] == "run 1, reward model, green, 88 % (84 to 91)"
    assert "not tested" in reward["options"][0]["label"] and "sandbox's own true score" in reward["options"][3]["label"]
    assert reward["value"] == "run:3" and reward["says"] == "Run 3 is the newest reward model."
    assert train.plan(filled, asked())["reward"] is None


def test_a_process_reward_is_offered_and_tested_as_reward_models_are(filled):
    folder = reward_runs.folder(filled.settings.workspace, 1, "green")
    config = json.loads((folder / "config.json").read_text()) | {"method": "prm"}
    config["data"] |= {"unit": "labelled answers"}
    (folder / "config.json").write_text(json.dumps(config))
    gate = json.loads((folder / "gate.json").read_text()) | {"simulated": 400}
    (folder / "gate.json").write_text(json.dumps(gate))
    folder = folder.rename(folder.with_name("0001-prm"))
    reward = plan_of(filled)["reward"]
    assert reward["options"][0] == {
        "value": "run:1",
        "label": "run 1, process reward model, green, 88 % (84 to 91), simulated raters",
    }
    assert reward["value"] == "run:1" and "there is no reward model" in reward["says"]
    assert "answers like those whose steps were labelled" in reward["says"] and plan_of(filled)["ready"]
    run = find_run(filled.settings.workspace, 1)
    assert rewards.badge(run)["reason"].endswith("400 of its labelled answers are by simulated raters.")
    assert rewards.gate(filled, {"run": 1})["level"] == "green" and rewards.reward_model_runs(filled) == []
    (folder / "gate.json").write_text(json.dumps(reward_runs.gate("red")))
    assert not plan_of(filled)["ready"] and "Run 1 is red" in plan_of(filled)["reward"]["red"]


def test_without_a_reward_model_the_plan_leads_to_training_one(filled):
    plan = plan_of(filled)
    assert not plan["ready"] and "There is none yet" in plan["problem"]
    assert plan["missing"] == {"tab": "train", "options": {"method": "reward"}, "label": "Train one"}
    assert plan_of(filled, "gold")["ready"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("run:9", "There is no run 9."),
        ("silver", "'silver' is not a reward; use run:NUMBER, gold, file:PATH.py, or a weighted sum"),
        ("run:1 + 0.5*", "'0.5*' is not a reward"),
    ],
)
def test_a_reward_that_makes_no_sense_is_told_beside_its_field(filled, text, error):
    reward_runs.folder(filled.settings.workspace, 1)
    plan = plan_of(filled, text)
    assert plan["errors"]["reward"].startswith(error) and not plan["ready"]


def test_a_sum_is_spelt_out(filled):
    reward_runs.folder(filled.settings.workspace, 1)
    assert plan_of(filled, "run:1 + -0.5*gold")["reward"]["says"] == "The sum of run 1 and −0.5 × gold."


def test_the_page_takes_reward_files_from_the_owners_folder_and_never_runs_them(filled, tmp_path, not_started):
    folder, ran = tmp_path / "rewards", tmp_path / "ran"
    folder.mkdir()
    mine = folder / "mine.py"
    mine.write_text(f"open({str(ran)!r}, 'w')\ndef reward(prompts, responses): ...")
    refused = plan_of(filled, f"file:{mine}")
    assert not refused["ready"] and refused["errors"]["reward"].startswith(
        "A reward file is code, so the page accepts none."
    )
    with pytest.raises(Refused, match="--rewards DIR"):
        train.start(filled, asked(method="ppo", token="12345678", settings={"reward": f"file:{mine}"}))
    filled.settings = replace(filled.settings, rewards=folder)
    plan = plan_of(filled, "file:mine.py")
    assert (
        plan["ready"] and plan["reward"]["value"] == f"file:{mine}" and f"--set=reward=file:{mine}" in plan["command"]
    )
    assert {"value": f"file:{mine}", "label": "file mine.py"} in plan["reward"]["options"]
    assert plan["reward"]["says"] == "A file is code: it runs in the job."
    run = train.start(filled, asked(method="ppo", token="12345678", settings={"reward": "file:mine.py"}))["run"]
    config = find_run(filled.settings.workspace, run).config
    assert config["args"]["reward"] == f"file:{mine}" and f"--set=reward=file:{mine}" in config["command"]
    assert not ran.exists()


@pytest.mark.parametrize("level", ["red", None])
def test_a_distrusted_model_needs_the_click_which_is_kept(filled, not_started, level):
    reward_runs.folder(filled.settings.workspace, 1, level)
    plan = plan_of(filled)
    assert plan["reward"]["red"].startswith("Run 1 is ") and "What would help: " in plan["reward"]["red"]
    assert not plan["ready"] and plan["problem"] is None and "--allow-failed-gate" not in plan["command"]
    with pytest.raises(Refused, match="run 1 is"):
        train.start(filled, asked(method="ppo", token="12345678"))
    plan = plan_of(filled, allow_failed_gate=True)
    assert plan["ready"] and "--allow-failed-gate" in plan["command"]
    run = train.start(filled, asked(method="ppo", token="another click", allow_failed_gate=True))["run"]
    shown = runs.brief(find_run(filled.settings.workspace, run))
    assert shown["notices"][0].startswith("Started anyway although run 1 is ")


@pytest.mark.parametrize("level", ["green", "amber"])
def test_a_trusted_model_asks_for_nothing(filled, level):
    reward_runs.folder(filled.settings.workspace, 1, level)
    assert plan_of(filled)["reward"]["red"] == "" and plan_of(filled)["ready"]


def test_a_reward_run_shows_its_verdict_and_its_checks(filled):
    workspace = filled.settings.workspace
    for number, level in ((1, "red"), (2, None)):
        reward_runs.folder(workspace, number, level)
    red, untested = (runs.brief(find_run(workspace, n)) for n in (1, 2))
    assert red["verdict"] == {"level": "red", "words": "✕ red", "reason": reward_runs.SAYS["red"]}
    assert red["action"]["label"] == "Score text" and untested["verdict"]["words"] == "? not tested"
    gate = rewards.gate(filled, {"run": 1})
    assert [(row["check"], row["words"]) for row in gate["rows"]] == [
        ("Agrees with held-out pairs", "✕ red"),
        ("Raters agree with each other", "– unknown"),
    ]
    assert gate["rows"][0]["helps"] == "Rank more pairs." and rewards.gate(filled, {"run": 2})["rows"] == []
    with pytest.raises(Refused):
        rewards.gate(filled, {"run": prepared(filled).number})


def test_simulated_raters_are_named_with_every_verdict(filled):
    folder = reward_runs.folder(filled.settings.workspace, 1)
    gate = json.loads((folder / "gate.json").read_text())
    (folder / "gate.json").write_text(json.dumps(gate | {"simulated": 1500}))
    assert rewards.label(find_run(filled.settings.workspace, 1)).endswith("88 % (84 to 91), simulated raters")
    reason = runs.brief(find_run(filled.settings.workspace, 1))["verdict"]["reason"]
    assert reason.endswith("held-out pairs. 1,500 of its comparisons are by simulated raters.")


def test_of_several_reasons_the_badge_gives_one(filled):
    folder = reward_runs.folder(filled.settings.workspace, 1, "amber")
    gate = json.loads((folder / "gate.json").read_text())
    (folder / "gate.json").write_text(json.dumps(gate | {"reason": "One 3 % (1 to 5) of 9. Two. Three."}))
    reason = runs.brief(find_run(filled.settings.workspace, 1))["verdict"]["reason"]
    assert reason == "One 3 % (1 to 5) of 9. Two more checks are amber."


# Watching


def test_watching_nothing_gives_nothing(context):
    answer = train.watch(context, {})
    assert answer["shown"] is None and answer["runs"] == [] and answer["rows"] == []


def test_only_new_rows_are_sent(filled):
    run = prepared(filled)
    state(run, state="running", step=1, heartbeat=1)
    append(run, {"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.23456789})
    first = train.watch(filled, {"run": None, "seen": None, "after": 0, "samples": 0, "stamp": ""})
    assert first["rows"] == [{"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.23457}]
    assert [r["number"] for r in first["runs"]] == [1]
    again = {"run": None, "seen": 1, "after": first["next"], "samples": first["samples_next"], "stamp": first["stamp"]}
    quiet = train.watch(filled, again)
    assert quiet["rows"] == [] and quiet["runs"] is None and quiet["samples"] is None
    append(run, {"step": 2, "loss": 1.0}, {"back_to": 1})
    append(run, {"step": 2, "prompt": "Hello?", "answer": "Hi."}, name="samples.jsonl")
    news = train.watch(filled, again)
    assert news["rows"] == [{"step": 2, "loss": 1.0}, {"back_to": 1}]
    assert news["samples"] == [{"step": 2, "prompt": "Hello?", "text": "Hi."}]


def test_another_run_is_sent_from_its_beginning(filled):
    for _ in range(2):
        run = prepared(filled, seed=len(list_runs(filled.settings.workspace)))
        append(run, {"step": 0, "loss": 2.0})
        state(run, state="done", message="Done in 7 s. See what changed.")
    answer = train.watch(filled, {"run": 1, "seen": 2, "after": 1, "samples": 0})
    assert answer["shown"]["number"] == 1 and answer["from"] == 0 and len(answer["rows"]) == 1


def test_what_is_no_number_becomes_a_gap_and_stays_json(filled):
    run = prepared(filled)
    state(run, state="running", step=2, heartbeat=1)
    append(
        run,
        '{"step": 1, "loss": NaN}',
        '{"step": 2, "loss": Infinity}',
        {"step": 3, "rejected": True},
        '{"step": 4, "lo',
    )
    answer = train.watch(filled, {})
    assert answer["rows"] == [{"step": 1, "loss": None}, {"step": 2, "loss": None}, {"step": 3, "rejected": True}]
    assert answer["faults"] == ["metrics.jsonl, line 4 is left out: it is not valid JSON."]
    json.dumps(answer, allow_nan=False)


def test_the_live_run_is_shown_before_a_newer_one_that_waits(filled):
    first, second = prepared(filled), prepared(filled, seed=1)
    state(first, state="running", step=3, eta_s=24.2, heartbeat=1)
    state(second, state="waiting", queue=2, message="Waits for run 1, about 24 s.", heartbeat=1)
    answer = train.watch(filled, {})
    assert answer["shown"]["number"] == 1
    assert answer["shown"]["line"] == "Step 3 of 20, about 24 s left. It continues if you close this page."
    assert answer["runs"][0]["line"] == "Waits for run 1, about 24 s."
    assert {"number": 1, "time": "3 of 20 steps"} in answer["live"]


def test_a_run_that_is_gone_is_refused(context):
    with pytest.raises(Refused, match="Run 4 no longer exists"):
        train.watch(context, {"run": 4})


# What is said of a run


@pytest.mark.parametrize(
    ("status", "text", "buttons"),
    [
        ({"state": "starting", "message": "Starting. First point in about 3 s."}, "Starting. First point in about 3 s.", ["Stop"]),
        ({"state": "stopped", "step": 38, "message": "Stopped at step 38. The model at step 36 is saved."}, "Stopped at step 38. The model at step 36 is saved.", ["Resume"]),
        ({"state": "interrupted", "step": 38, "message": "Run 1 was interrupted at step 38."}, "Run 1 was interrupted at step 38.", ["Resume"]),
        ({"state": "failed", "step": 12, "message": "Run 1 stopped: out of memory at step 12."}, "Run 1 stopped: out of memory at step 12.", ["Show log", "Try again"]),
        ({"state": "done", "step": 20, "message": "Done in 58 s. See what changed."}, "Done in 58 s. See what changed.", []),
    ],
)  # fmt: skip
def test_every_state_has_its_sentence_and_its_buttons(filled, status, text, buttons):
    run = prepared(filled)
    state(run, heartbeat=1, **status)
    row = runs.brief(find_run(filled.settings.workspace, 1))
    assert row["line"] == text
    assert [a["label"] for a in row["actions"]] == buttons


def test_a_finished_run_with_its_model_leads_to_compare(filled):
    run = prepared(filled)
    (run.folder / "adapter").mkdir()
    (run.folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    state(run, state="done", seconds=58.4, step=20)
    row = runs.brief(find_run(filled.settings.workspace, 1))
    assert row["line"] == "Done in 58 s. See what changed."
    assert row["action"]["name"] == "compare" and row["title"] == "Run 1: SFT on 30 answers"
    assert train.plan(filled, asked())["starts"] == [
        {"run": None, "label": "the base model"},
        {"run": 1, "label": "SFT, run 1"},
    ]


def test_a_run_asked_to_stop_and_save_says_so(filled):
    run = prepared(filled)
    state(run, state="running", step=5, heartbeat=1)
    (run.folder / "stop").write_text("save")
    assert "Stopping after this step" in train.watch(filled, {})["shown"]["line"]


def test_a_result_carries_its_interval_and_n(filled):
    run = prepared(filled)
    result = {"gold": 0.9, "gold_low": 0.87, "gold_high": 0.93, "gold_n": 300}
    result |= {"base_gold": 0.72, "base_gold_low": 0.69, "base_gold_high": 0.75, "base_gold_n": 300}
    (run.folder / "result.json").write_text(json.dumps(result))
    row = runs.brief(find_run(filled.settings.workspace, 1))
    assert row["result"] == "0.90 (0.87 to 0.93)"
    assert row["explain"] == "Gold score, 0 to 1; base 0.72 (0.69 to 0.75). n 300 held-out answers, 95 % intervals"


def test_simulated_data_is_named_in_the_history(filled):
    prepared(filled)
    assert train.watch(filled, {})["runs"][0]["data"] == "30 answers, 10 simulated"


def test_side_by_side_shows_only_what_differs(filled):
    first, second = prepared(filled), prepared(filled, seed=4, learning_rate=0.001)
    for run in (first, second):
        append(run, {"step": 0, "loss": 2.0})
        state(run, state="done", seconds=7, step=20)
    answer = train.differences(filled, {"runs": [2, 1]})
    assert [r["number"] for r in answer["runs"]] == [1, 2]
    assert {d["name"]: (d["a"], d["b"]) for d in answer["differences"]} == {
        "seed": ("0", "4"),
        "learning rate": ("0.003", "0.001"),
    }
    assert answer["rows"] == [[{"step": 0, "loss": 2.0}]] * 2 and answer["gold"] is None
    for run, golds in ((first, (0.5, 0.25, 1.0)), (second, (0.75, 0.5, 0.0))):
        answers = [
            {"prompt": f"Prompt {i}", "answer": "", "gold": gold, "style": "helpful"} for i, gold in enumerate(golds)
        ]
        answers = (
            answers if run is first else [*answers[:2], answers[2] | {"prompt": "another"}]
        )  # two prompts in common
        (run.folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    sentence = "Gold score of run 2 minus that of run 1, on the same held-out prompts: +0.250 (−0.802 to 0.881, n 2), within chance."
    assert train.differences(filled, {"runs": [2, 1]})["gold"] == sentence
    for wrong in ([1], [1, 1], [1, 9], "12", None):
        with pytest.raises(Refused):
            train.differences(filled, {"runs": wrong})


def test_the_log_is_shown(filled):
    run = prepared(filled)
    (run.folder / "log.txt").write_text("one\n<script>alert(1)</script>\n")
    assert train.log(filled, {"run": 1}) == {"log": "one\n<script>alert(1)</script>"}


def test_seconds_are_said_as_people_say_them():
    assert [runs.seconds(s) for s in (0.2, 58.4, 200, 7200)] == ["1 s", "58 s", "3 min", "2.0 h"]


def test_a_row_keeps_six_digits_and_only_what_is_drawn():
    row = {"step": 3, "loss": 1.23456789, "n": 7, "other": 1, "bad": math.nan}
    assert runs.page_row(row, {"loss", "n", "bad"}) == {"step": 3, "loss": 1.23457, "n": 7, "bad": None}


def test_watching_many_runs_stays_small(filled):
    """What a poll sends while nothing changes does not grow with the number of runs."""
    for i in range(12):
        state(prepared(filled, seed=i), state="done", seconds=7)
    first = train.watch(filled, {})
    quiet = train.watch(filled, {"seen": 12, "after": first["next"], "samples": 0, "stamp": first["stamp"]})
    assert len(json.dumps(quiet)) < 2500


def test_without_step_labels_simulated_ones_are_offered_and_named(context, monkeypatch):
    from workbench.ui.stepwise import simulate_steps

    monkeypatch.setattr("workbench.collect.simulated.PROMPTS", {"train": 8, "heldout": 4})
    asked = {"method": "prm", "preset": "quick", "start_from": None, "settings": {}}
    none = train.plan(context, asked)
    assert none["simulate"] and "There are none yet" in none["problem"] and none["missing"]["label"] == "Label some"
    added = simulate_steps(context, {"rater": "you"})["added"]
    plan = train.plan(context, asked)
    assert plan["ready"] and not plan["simulate"] and f"{added} from simulated raters" in plan["data"]


def test_best_of_n_is_drawn_over_n_and_compared_in_words(context):
    config = RunConfig(number=1, method="prm", model="sandbox", args={})
    run = Run(1, context.settings.workspace, config, RunStatus(), RunResult.model_validate({"best_of_n": {
        "n": 100, "ns": [1, 16], "reward": [[0.8, 0.7, 0.9], [0.97, 0.93, 1.0]], "majority": [[0.8, 0.7, 0.9], [1.0, 0.96, 1.0]],
        "one": [0.8, 0.7, 0.9], "difference": [-0.03, -0.07, 0.0], "clear": False}}))  # fmt: skip
    chart = runs.best_of_n(run)
    assert [s["label"] for s in chart["series"]] == ["reward model", "majority vote", "one answer"]
    assert chart["series"][2]["values"] == [(0.8, 0.7, 0.9)] * 2 and "n 100" in chart["unit"]
    assert chart["sentence"] == (
        "Best of 16: choosing by the reward model minus the majority vote, −3 points (−7 to 0), within chance."
    )
    assert runs.best_of_n(Run(1, context.settings.workspace, config, RunStatus(), RunResult())) is None

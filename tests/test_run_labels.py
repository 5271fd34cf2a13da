"""What people do with runs: name, note and star; delete with undo; and what a resume and a job leave alone."""

from __future__ import annotations

import json

import pytest

from tests import reward_runs, small_runs
from workbench.cli import main
from workbench.jobs import prepare, trash, worker
from workbench.jobs.labels import relabel
from workbench.jobs.runs import find_run, list_runs
from workbench.learn.catalogue import parse
from workbench.learn.run_files import RunLabel, SpoiledFile, read
from workbench.processes import write_status
from workbench.ui import export
from workbench.ui.context import Context


@pytest.fixture
def space(settings, store):
    """A workspace of the sandbox with some answers to train on."""
    for prompt in store.add_prompts([f"What is {i} plus {i}?" for i in range(12)], "person"):
        store.add_demonstration(prompt.id, "An answer.", "me")
    return settings


def finished(settings, store, parent=None, **values):
    """A prepared run that ended, its adapter left out but for its name."""
    run = prepare.prepare_run(settings, store, "sft", parse("sft", values, "quick"), parent)
    (run.folder / "adapter").mkdir()
    (run.folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (run.folder / "adapter" / "adapter_config.json").write_text('{"r": 8, "lora_alpha": 16, "lora_dropout": 0.0}')
    write_status(run.folder, state="done")
    return find_run(settings.workspace, run.number)


# Names, notes and stars


def test_a_run_has_a_name_a_note_and_a_star_each_kept_when_another_changes(space, store):
    run = finished(space, store)
    assert (run.title, run.label) == ("SFT, run 1", RunLabel())
    relabel(space.workspace, 1, name="  Polite \n v2 ")
    relabel(space.workspace, 1, note="Shorter answers.\nSecond line. ")
    run = relabel(space.workspace, 1, starred=True)
    assert run.title == "SFT, run 1 (Polite v2)"
    assert read(RunLabel, run.folder / "label.json") == RunLabel(
        name="Polite v2", note="Shorter answers.\nSecond line.", starred=True
    )
    assert relabel(space.workspace, 1, name="").title == "SFT, run 1"


def test_a_label_that_makes_no_sense_is_refused_and_the_old_one_stays(space, store):
    finished(space, store)
    relabel(space.workspace, 1, name="kept")
    with pytest.raises(ValueError, match="A name has at most 60 characters; this one has 61"):
        relabel(space.workspace, 1, name="x" * 61)
    with pytest.raises(ValueError, match="A note has at most 4,000 characters"):
        relabel(space.workspace, 1, note="x" * 4001)
    with pytest.raises(ValueError, match="there is no run 7"):
        relabel(space.workspace, 7, name="x")
    assert find_run(space.workspace, 1).label.name == "kept"


def test_a_spoiled_label_is_named_and_not_written_over(space, store):
    file = finished(space, store).folder / "label.json"
    file.write_text('{"name": 3}')
    with pytest.raises(SpoiledFile, match=r"0001-sft/label\.json: name"):
        relabel(space.workspace, 1, name="x")
    assert file.read_text() == '{"name": 3}'


def test_a_job_leaves_the_label_alone(tmp_path):
    settings, store = small_runs.workspace(tmp_path / "space")
    run = prepare.prepare_run(settings, store, "sft", parse("sft", small_runs.small("sft") | {"steps": 2}))
    relabel(settings.workspace, 1, name="before the job", starred=True)
    kept = (run.folder / "label.json").read_bytes()
    assert worker.main(run.folder) == 0, run.log_tail()
    store.close()
    assert (run.folder / "label.json").read_bytes() == kept
    assert find_run(settings.workspace, 1).label.name == "before the job"


# Deleting


def test_a_deleted_run_is_gone_from_every_list_and_comes_back_whole(space, store):
    run = finished(space, store)
    relabel(space.workspace, 1, name="mine")
    before = sorted(f.relative_to(run.folder) for f in run.folder.rglob("*"))
    assert trash.delete(space.workspace, 1).title == "SFT, run 1 (mine)"
    assert list_runs(space.workspace) == [] and not run.folder.exists()
    assert [folder.name for folder in trash.deleted(space.workspace)] == ["0001-sft"]
    assert trash.restore(space.workspace, 1) == find_run(space.workspace, 1)
    assert sorted(f.relative_to(run.folder) for f in run.folder.rglob("*")) == before
    with pytest.raises(ValueError, match="There is no deleted run 1"):
        trash.restore(space.workspace, 1)


def test_no_number_is_given_twice_even_after_the_trash_is_emptied(space, store):
    finished(space, store)
    trash.delete(space.workspace, 1)
    assert finished(space, store).number == 2
    assert trash.restore(space.workspace, 1).number == 1
    for number in (1, 2):
        trash.delete(space.workspace, number)
    assert trash.empty(space.workspace) == 2 and trash.deleted(space.workspace) == []
    assert not [f for f in (space.workspace / "runs" / ".trash").rglob("*") if f.is_file()]
    assert trash.empty(space.workspace) == 0
    with pytest.raises(ValueError, match="There is no deleted run 2"):
        trash.restore(space.workspace, 2)
    assert finished(space, store).number == 3


def test_what_runs_or_is_needed_is_not_deleted_and_says_why(space, store):
    finished(space, store)
    finished(space, store, parent=1)
    active = prepare.prepare_run(space, store, "sft", parse("sft", {"seed": 9}, "quick"))
    with pytest.raises(ValueError, match=r"^Run 3 is waiting\. Stop it first, then delete it\.$"):
        trash.delete(space.workspace, active.number)
    with pytest.raises(
        ValueError, match=r"^Run 1 is not deleted, because run 2 starts from it\. Delete that run first\.$"
    ):
        trash.delete(space.workspace, 1)
    reward_runs.folder(space.workspace, 4)
    for seed, reward in ((1, "run:4"), (2, "0.5*run:4 + gold")):
        run = prepare.prepare_run(space, store, "ppo", parse("ppo", {"reward": reward, "seed": seed}, "quick"))
        write_status(run.folder, state="stopped")
    with pytest.raises(
        ValueError,
        match=r"because run 6 takes its reward from it and run 5 takes its reward from it\. Delete those first",
    ):
        trash.delete(space.workspace, 4)
    assert [run.number for run in list_runs(space.workspace)] == [6, 5, 4, 3, 2, 1]
    for number in (2, 1, 6, 5, 4):  # the other way round nothing stands in the way
        trash.delete(space.workspace, number)


def test_a_deleted_run_is_not_exported(space, store):
    finished(space, store)
    trash.delete(space.workspace, 1)
    import base64
    import io
    import zipfile

    data = base64.b64decode(export.export_all(Context(space, store), {})["data"])
    assert not [name for name in zipfile.ZipFile(io.BytesIO(data)).namelist() if "0001-sft" in name]


# The command that repeats a run


def test_the_command_names_the_reward_model_that_was_the_newest_then(space, store):
    reward_runs.folder(space.workspace, 1)
    run = prepare.prepare_run(space, store, "ppo", parse("ppo", {}, "quick"))
    assert run.config.args["reward"] == "run:1" and "--set=reward=run:1" in run.config.command
    assert "--preset quick" in run.config.command and run.config.preset == "quick"


# The command line


def test_the_command_line_names_stars_deletes_and_restores(space, store, capsys):
    finished(space, store)
    finished(space, store, seed=1)

    def said(*argv):
        assert main.main(["runs", *argv, "--workspace", str(space.workspace)]) == 0
        return capsys.readouterr().out

    assert said("--name", "2", "Polite v2") == "SFT, run 2 (Polite v2)\n"
    assert said("--note", "2", "Shorter.") == "SFT, run 2 (Polite v2): Shorter.\n"
    assert said("--star", "2") == "SFT, run 2 (Polite v2): starred\n"
    assert [line[:5] for line in said().splitlines()] == ["★   2", "    1"] and said().splitlines()[0].endswith(
        "Polite v2"
    )
    assert len(said("--starred").splitlines()) == 1
    (row,) = json.loads(said("--starred", "--json"))
    assert (row["number"], row["name"], row["note"], row["starred"]) == (2, "Polite v2", "Shorter.", True)
    assert said("--delete", "2") == "SFT, run 2 (Polite v2) is deleted. To bring it back: --restore 2\n"
    assert len(said().splitlines()) == 1 and said("--starred") == "No starred runs.\n"
    assert said("--restore", "2") == "SFT, run 2 (Polite v2) is back.\n"
    said("--delete", "1")
    assert said("--empty-trash") == "Deleted 1 run for good.\n"
    assert main.main(["runs", "--name", "two", "x", "--workspace", str(space.workspace)]) == 1
    assert capsys.readouterr().err == "error: 'two' is not a run number\n"
    assert main.main(["runs", "--delete", "7", "--workspace", str(space.workspace)]) == 1
    assert "there is no run 7" in capsys.readouterr().err

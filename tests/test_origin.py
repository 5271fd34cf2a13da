"""A model is a place and its weights, however its name was typed."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from tests import small_runs, tiny_model
from workbench import models, settings
from workbench.jobs import control, prepare
from workbench.learn.catalogue import parse
from workbench.models import ModelError, origin
from workbench.ui.compare import _finished_runs
from workbench.ui.context import Context


@pytest.fixture
def base(tmp_path):
    return tiny_model.base(tmp_path / "models" / "base")


def test_every_way_to_write_a_folder_is_one_model(base, monkeypatch):
    monkeypatch.chdir(base.parent)
    (base.parent / "link").symlink_to(base)
    one = str(base.resolve())
    for typed in ("base", "base/", "./base", "../models/base", "link", str(base), f"{base}/"):
        assert settings.load(model=typed).model == one, typed
        assert origin.same({"model": typed, "weights": origin.fingerprint(typed)}, one)
    assert settings.load(model="someone/model").model == "someone/model"


def test_the_bundled_model_is_one_wherever_it_lies():
    assert settings.load().model == settings.load(model=str(settings.SANDBOX)).model == "sandbox"
    assert settings.model_name("/elsewhere/workbench/sandbox/model") == "sandbox"


def test_the_fingerprint_is_that_of_the_weights(base):
    first = origin.fingerprint(str(base))
    shutil.copytree(base, base.parent / "copy")
    assert origin.fingerprint(str(base.parent / "copy")) == first
    other_weights(base)
    assert origin.fingerprint(str(base)) not in (None, first)
    assert origin.fingerprint("someone/model") is None and origin.fingerprint(str(base / "nowhere")) is None


def test_of_a_large_file_one_number_in_every_piece_counts(base, monkeypatch):
    monkeypatch.setattr(origin, "WHOLE", 1000)
    monkeypatch.setattr(origin, "PIECE", 400)
    first = origin.fingerprint(str(base))
    other_weights(base)
    assert origin.fingerprint(str(base)) != first


def other_weights(base) -> None:
    file = base / "model.safetensors"
    save_file({name: weight + 0.5 for name, weight in load_file(file).items()}, file, {"format": "pt"})


def test_other_weights_in_the_same_folder_end_what_was_made_of_the_first(tmp_path):
    made, store = small_runs.workspace(tmp_path / "w", n=4)
    base = tmp_path / "w-model"
    run = prepare.prepare_run(made, store, "sft", parse("sft", {}))
    assert run.config["model"] == str(base) and run.config["weights"] == origin.fingerprint(str(base))
    tiny_model.adapter(base, run.folder / "adapter")
    control.write_status(run.folder, state="stopped")
    context = Context(made, store)
    assert [r.number for r in _finished_runs(context)] == [1]
    assert models.load(made.model, device="cpu").attach(run.folder) == "0001-sft"
    other_weights(base)
    assert _finished_runs(context) == []
    with pytest.raises(ModelError, match=r"weights different from those now in .*; it cannot be put on"):
        models.load(made.model, device="cpu").attach(run.folder)
    with pytest.raises(ValueError, match=r"Run 1 was made with weights different.*so it cannot be the starting point"):
        prepare.prepare_run(made, store, "sft", parse("sft", {}), start_from=1)
    with pytest.raises(ValueError, match=r"Run 1 was made with weights different.*cannot resume\. Start a new run"):
        control.resume(made, run)
    old = {name: value for name, value in run.config.as_json().items() if name != "weights"}
    (run.folder / "config.json").write_text(json.dumps(old))  # a run from before fingerprints
    assert [r.number for r in _finished_runs(context)] == [1]
    store.close()

"""Step labels without a person: right by the worked solution, said to be simulated, on both sides of the split."""

import pytest

from tests import tiny_model
from workbench import models
from workbench.cli import main
from workbench.collect.simulated import RATER, label_answers
from workbench.records import split_of
from workbench.sandbox.steps import label_steps
from workbench.store import Store

FEW = {"train": 8, "heldout": 4}


def test_the_worked_solution_labels_every_step(store: Store):
    model = models.load("sandbox")
    shares: list[float] = []
    n_added = label_answers(store, model, FEW, on_progress=shares.append)
    rows = store.step_labels()
    assert n_added == len(rows) == store.counts()["simulated_step_labels"] >= 12 and shares[-1] == 1.0
    for row in rows:
        assert row.labels == tuple(label_steps(row.prompt, row.answer) or ())
        assert row.simulated and row.rater == RATER and row.source == "sandbox"
    prompts = {row.prompt for row in rows}
    assert len(prompts) <= 12 and sum(split_of(p) == "heldout" for p in prompts) in range(2, 5)
    assert label_answers(store, model, FEW) == 0  # the same seed: nothing new


def test_only_the_bundled_models_world_is_known(store: Store, tmp_path):
    with pytest.raises(ValueError, match="sandbox's world"):
        label_answers(store, models.load(str(tiny_model.base(tmp_path / "tiny"))), FEW)


def test_by_hand(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("workbench.collect.simulated.PROMPTS", FEW)
    assert main.main(["sandbox", "steps", "--workspace", str(tmp_path / "w")]) == 0
    with Store(tmp_path / "w" / "workbench.db") as store:
        n = store.counts()["simulated_step_labels"]
    assert n > 0 and f"Stored {n} new answers with simulated step labels." in capsys.readouterr().out

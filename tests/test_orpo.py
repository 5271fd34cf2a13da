"""ORPO in this process on a model of a few thousand weights: the loss by hand, what is learned, where it starts."""

import json

import pytest
import torch

from tests import small_runs
from tests.small_runs import workspace
from workbench.jobs.runs import read_run
from workbench.learn.catalogue import METHODS
from workbench.learn.engine import losses
from workbench.learn.methods import dpo, orpo, sft
from workbench.records import Response


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    settings, store = workspace(tmp_path_factory.mktemp("orpo") / "space")
    with store:
        yield settings, store


@pytest.fixture
def opened(place):
    with small_runs.opener(*place, "orpo") as open_:
        yield open_


def rows_of(work):
    return read_run(work.folder).metrics()[0]


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_loss_is_imitation_and_the_odds_ratio(opened, weight):
    work = opened(steps=1, batch_size=4, odds_weight=weight)
    pairs = [dpo.rows(work)[k] for k in range(4)]

    def logps(key):
        """(sum, number of tokens) of log p of each answer under the base."""
        sums = []
        for pair in pairs:
            start, end = pair["prompt_ids"], pair[key]
            with torch.no_grad():
                logits = work.peft(torch.tensor([start + end])).logits[0].log_softmax(-1)
            sums.append((logits[len(start) - 1 : -1][range(len(end)), end].sum().item(), len(end)))
        return sums

    work.peft.eval()
    chosen, rejected = logps("chosen_ids"), logps("rejected_ids")
    imitation = -sum(s for s, _ in chosen) / sum(n for _, n in chosen)
    odds = losses.odds_ratio(*(torch.tensor([s / n for s, n in both]) for both in (chosen, rejected))).item()
    orpo.train(work)
    row = next(r for r in rows_of(work) if "loss" in r)
    assert row["loss"] == pytest.approx(imitation + weight * odds, abs=1e-3)
    assert row["imitation_loss"] == pytest.approx(imitation, abs=1e-3)


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_micro_batches_make_the_same_updates(tmp_path, micro_batch):
    """Of answers of different lengths: every chosen token of the batch counts the same, however it is cut up."""
    settings, store = workspace(tmp_path / "space", n=0)
    for i, prompt in enumerate(store.add_prompts([f"What is {i} plus {i}?" for i in range(12)], "person")):
        texts = ("Yes" + ", yes" * (3 * (i % 4)) + ".", "no!")
        good, bad = store.add_responses([Response(0, prompt.id, text, "tiny") for text in texts])
        store.add_comparison(prompt.id, [good, bad], [[good.id], [bad.id]], [good.id, bad.id], "me")
    same = {"seed": 50, "steps": 3, "schedule": "constant", "warmup": 0}
    with store, small_runs.opener(settings, store, "orpo") as open_:
        whole, parts = open_(**same), open_(**same, micro_batch=micro_batch)
        orpo.train(whole)
        orpo.train(parts)
    for key in ("loss", "imitation_loss"):
        values = [[r[key] for r in rows_of(work) if key in r] for work in (whole, parts)]
        assert values[1] == pytest.approx(values[0], abs=2e-4)
    for (name, a), (_, b) in zip(whole.peft.named_parameters(), parts.peft.named_parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-4), name


def test_it_learns_to_prefer_the_chosen_answers_on_pairs_it_never_saw(opened):
    work = opened(steps=16, evaluate_every=16)
    result = orpo.train(work)
    assert small_runs.has_known_keys(result)
    assert result["accuracy"] == 1.0 and result["accuracy_low"] < 1.0
    rows = [r for r in rows_of(work) if "log_odds" in r]
    assert rows[-1]["log_odds"] > rows[0]["log_odds"] and rows[-1]["imitation_loss"] < rows[0]["imitation_loss"]
    assert list(work.peft.peft_config) == ["default"]
    keys = {s.key for c in METHODS["orpo"].curves if not c.sandbox for s in c.series}
    assert keys <= {key for row in rows_of(work) for key in row}


def test_from_an_sft_run_the_distance_is_from_where_it_began(opened):
    first = opened("sft", steps=4)
    (first.folder / "result.json").write_text(json.dumps(sft.train(first)))
    work = opened(start_from=read_run(first.folder).number, steps=4, evaluate_every=4)
    began = {n: w.detach().clone() for n, w in work.peft.named_parameters() if ".default." in n}
    orpo.train(work)
    after = dict(work.peft.named_parameters())
    assert all(torch.equal(w, after[n.replace(".default.", ".ref.")]) for n, w in began.items())
    assert any(not torch.equal(w, after[n]) for n, w in began.items())
    kls = [r["kl"] for r in rows_of(work) if "kl" in r]
    assert kls[0] == 0 and kls[-1] != 0


def test_a_run_from_the_command_line_ends_with_an_adapter(place):
    settings, store = place
    run = small_runs.done(settings, small_runs.launch(settings, store, "orpo", steps=3))
    assert run.state == "done", run.log_tail()
    assert run.adapter is not None and run.samples() and "ORPO, run" in (run.folder / "README.md").read_text()

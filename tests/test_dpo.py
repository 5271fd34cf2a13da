"""DPO in this process on a model of a few thousand weights: known values of the loss, the reference, what is learned."""

import json
from math import log

import pytest
import torch

from tests.small_runs import SMALL, has_known_keys, workspace
from workbench.jobs import control, prepare
from workbench.jobs.runs import list_runs, read_run
from workbench.learn.catalogue import parse
from workbench.learn.engine import adapter
from workbench.learn.engine.reporter import Reporter
from workbench.learn.engine.work import Work
from workbench.learn.methods import dpo, sft


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    settings, store = workspace(tmp_path_factory.mktemp("dpo") / "space")
    with store:
        yield settings, store


@pytest.fixture
def opened(place):
    settings, store = place
    reports = []

    def open_(method="dpo", start_from=None, **changes):
        changes = {"seed": len(list_runs(settings.workspace))} | changes
        run = prepare.prepare_run(settings, store, method, parse(method, SMALL | changes), start_from)
        control.write_status(run.folder, state="done")
        report = Reporter(run.folder)
        report.status(steps=run.config["args"]["steps"])
        reports.append(report)
        return Work.open(run, report)

    yield open_
    for report in reports:
        report.close()


def rows_of(work):
    return read_run(work.folder).metrics()[0]


def test_pairs_reach_the_trainer_as_the_templates_token_ids(opened):
    work = opened()
    row, tokenizer = dpo.rows(work)[0], work.model.tokenizer
    assert tokenizer.decode(row["prompt_ids"]).startswith("<|user|>What is ")
    assert tokenizer.decode(row["chosen_ids"]) == "Yes, so it is.<|end|>"
    assert tokenizer.decode(row["rejected_ids"]) == "no!<|end|>"


def test_at_the_start_the_loss_is_a_coin_toss_and_nothing_is_told_apart(opened):
    work = opened(steps=1, evaluate_every=1)
    dpo.train(work)
    rows = rows_of(work)
    assert next(r["loss"] for r in rows if "loss" in r) == pytest.approx(log(2), abs=1e-4)
    start = next(r for r in rows if "accuracy" in r)
    assert (start["step"], start["accuracy"]) == (0, 0.5)
    assert start["accuracy_n"] == len(work.heldout) > 0
    assert next(r for r in rows if "kl" in r)["kl"] == 0.0


def test_it_learns_to_prefer_the_chosen_answers_on_pairs_it_never_saw(opened):
    work = opened(steps=16, evaluate_every=16)
    hashed = adapter.frozen_hash(work.peft)
    result = dpo.train(work)
    assert has_known_keys(result)
    assert result["accuracy"] == 1.0 and result["accuracy_low"] < 1.0
    assert result["heldout_margin"] > 0.2
    last = [r for r in rows_of(work) if "rewards_chosen" in r][-1]
    assert last["rewards_chosen"] > last["rewards_rejected"]
    assert last["margin"] == pytest.approx(last["rewards_chosen"] - last["rewards_rejected"], abs=1e-5)
    assert adapter.frozen_hash(work.peft) == hashed
    assert list(work.peft.peft_config) == ["default"], "turning the adapter off is the reference"


def test_heldout_margins_are_the_difference_of_log_ratios(opened):
    work = opened()
    with torch.no_grad():
        for name, weight in work.peft.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    work.peft.eval()
    heldout = dpo.HeldOut()
    got = heldout._margins(work)[0]
    row = work.heldout[0]

    def logp(text, adapter_on):
        start = work.model.prompt_ids(row["prompt"])
        end = work.model.answer_ids(text)
        with torch.no_grad():
            ids = torch.tensor([start + end])
            if adapter_on:
                logits = work.peft(ids).logits[0]
            else:
                with work.peft.disable_adapter():
                    logits = work.peft(ids).logits[0]
        return logits.log_softmax(-1)[len(start) - 1 : -1][range(len(end)), end].sum().item()

    chosen = logp(row["chosen"], True) - logp(row["chosen"], False)
    rejected = logp(row["rejected"], True) - logp(row["rejected"], False)
    assert abs(chosen - rejected) > 0.05
    assert got == pytest.approx(chosen - rejected, abs=1e-3)


def test_pairs_of_one_ranking_count_as_one_judgement(opened):
    work = opened()
    work.heldout = [work.heldout[0] | {"id": 1}, work.heldout[0] | {"id": 1}, work.heldout[0] | {"id": 2}]
    heldout = dpo.HeldOut()
    heldout._margins = lambda work: [1.0, -1.0, 1.0]
    figures = heldout.accuracy(work, 5)
    assert (figures["accuracy"], figures["accuracy_n"]) == (0.75, 2)


def test_from_an_sft_run_the_reference_is_where_it_began(opened):
    first = opened("sft", steps=4)
    (first.folder / "result.json").write_text(json.dumps(sft.train(first)))
    number = read_run(first.folder).number
    work = opened(start_from=number, steps=4, evaluate_every=4)
    assert work.start == "ref"
    began = {n: w.detach().clone() for n, w in work.peft.named_parameters() if ".default." in n}
    dpo.train(work)
    after = dict(work.peft.named_parameters())
    assert all(torch.equal(w, after[n.replace(".default.", ".ref.")]) for n, w in began.items())
    assert any(not torch.equal(w, after[n]) for n, w in began.items())
    rows = rows_of(work)
    assert next(r["loss"] for r in rows if "loss" in r) == pytest.approx(log(2), abs=1e-4)
    assert read_run(work.folder).config["parent"] == number
    assert {f.name for f in (work.folder / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


@pytest.mark.parametrize("loss, start", [("ipo", None), ("hinge", 1.0)])
def test_other_losses(opened, loss, start):
    work = opened(steps=2, loss=loss, beta=0.1, evaluate_every=2)
    dpo.train(work)
    first = next(r["loss"] for r in rows_of(work) if "loss" in r)
    # at the start both log-ratios are 0: hinge is 1, ipo is (0 - 1 / (2 beta))^2 = 25 at beta 0.1
    assert first == pytest.approx(start if start is not None else 25.0, abs=1e-2)

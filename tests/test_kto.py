"""KTO in this process on a model of a few thousand weights: weights and pairings by hand, what is learned, what is told."""

import pytest
import torch

from tests import small_runs
from tests.small_runs import workspace
from workbench.jobs.runs import read_run
from workbench.learn import data
from workbench.learn.catalogue import METHODS, parse
from workbench.learn.data import MissingData
from workbench.learn.methods import kto
from workbench.records import Response


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    settings, store = workspace(tmp_path_factory.mktemp("kto") / "space")
    with store:
        yield settings, store


@pytest.fixture
def opened(place):
    with small_runs.opener(*place, "kto") as open_:
        yield open_


def rows_of(work):
    return read_run(work.folder).metrics()[0]


@pytest.mark.parametrize(
    ("n_good", "n_bad", "weights", "expected"),
    [
        (4, 4, (None, None), (1, 1)),
        (6, 2, (None, None), (1 / 3, 1)),
        (2, 6, (None, None), (1, 1 / 3)),
        (6, 2, (1.0, None), (1, 3)),
        (6, 2, (None, 1.0), (1 / 3, 1)),
        (6, 2, (0.5, 0.7), (0.5, 0.7)),
        (4, 0, (None, None), (1, 1)),
    ],
)
def test_good_and_bad_answers_weigh_the_same(n_good, n_bad, weights, expected):
    labels = [True] * n_good + [False] * n_bad
    assert kto.weights(labels, *weights) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [("abc", [2, 0, 1]), ("aab", [2, 2, 1]), ("aaab", [3, 3, 3, 2]), ("aa", [1, 0]), ("a", [0])],
)
def test_each_prompt_is_paired_with_an_answer_to_another(prompts, expected):
    assert kto.elsewhere(list(prompts)) == expected


def test_examples_reach_the_trainer_as_the_templates_token_ids(opened):
    work = opened(micro_batch=2)
    rows, tokenizer = kto.rows(work), work.model.tokenizer
    order = data.order(work.train, work.args.steps * work.args.batch_size, work.args.seed)
    assert len(rows) == len(order)
    for k, i in enumerate(order):
        assert tokenizer.decode(rows[k]["prompt_ids"]) == f"<|user|>{work.train[i]['prompt']}<|assistant|>"
        assert tokenizer.decode(rows[k]["completion_ids"]) == work.train[i]["completion"] + "<|end|>"
        assert rows[k]["label"] is work.train[i]["label"] is (work.train[i]["completion"] == "Yes, so it is.")
    for k in range(0, len(order), work.args.batch_size):
        batch = range(k, k + work.args.batch_size)
        for j, other in zip(batch, kto.elsewhere([work.train[order[j]]["prompt"] for j in batch]), strict=True):
            assert rows[j]["KL_completion_ids"] == rows[k + other]["completion_ids"], "from the whole batch"


def test_the_first_batch_says_which_answers_are_good(opened):
    text = (opened().folder / "first_batch.txt").read_text()
    assert "[chosen] Yes, so it is.<|end|>" in text or "[rejected] no!<|end|>" in text
    assert "[chosen] no!" not in text and "[rejected] Yes" not in text


def test_at_the_start_the_loss_is_a_half_and_nothing_is_told_apart(opened):
    work = opened(steps=1, evaluate_every=1, desirable_weight=1, undesirable_weight=1)
    kto.train(work)
    assert next(r["loss"] for r in rows_of(work) if "loss" in r) == pytest.approx(0.5, abs=1e-4)
    start = next(r for r in rows_of(work) if "accuracy" in r)
    assert (start["step"], start["accuracy"]) == (0, 0.5)
    assert start["accuracy_n"] == len({r["id"] for r in work.heldout}) == len(work.heldout) / 2


def test_it_learns_to_tell_good_from_bad_on_answers_it_never_saw(opened):
    work = opened(steps=16, evaluate_every=16)
    result = kto.train(work)
    assert small_runs.has_known_keys(result)
    assert result["accuracy"] == 1.0 and result["accuracy_low"] < 1.0
    last = [r for r in rows_of(work) if "rewards_chosen" in r and "rewards_rejected" in r][-1]
    assert last["rewards_chosen"] > last["rewards_rejected"]
    assert list(work.peft.peft_config) == ["default"], "turning the adapter off is the reference"
    keys = {s.key for c in METHODS["kto"].curves if not c.sandbox for s in c.series}
    assert keys <= {key for row in rows_of(work) for key in row}


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_the_loss_is_the_papers(opened, monkeypatch, micro_batch):
    work = opened(
        steps=1, batch_size=4, micro_batch=micro_batch, desirable_weight=1, undesirable_weight=0.5, beta=0.3, seed=4
    )
    with torch.no_grad():
        for name, weight in work.peft.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    examples = [kto.rows(work)[k] for k in range(4)]

    def logp(start, end, adapter):
        with torch.no_grad():
            ids = torch.tensor([start + end])
            if adapter:
                logits = work.peft(ids).logits[0]
            else:
                with work.peft.disable_adapter():
                    logits = work.peft(ids).logits[0]
        return logits.log_softmax(-1)[len(start) - 1 : -1][range(len(end)), end].sum().item()

    def gain(example, key):
        return sum(s * logp(example["prompt_ids"], example[key], on) for s, on in ((1, True), (-1, False)))

    work.peft.eval()
    z0 = max(0.0, sum(gain(e, "KL_completion_ids") for e in examples) / 4)
    values = []
    for e in examples:
        above = torch.tensor(0.3 * (gain(e, "completion_ids") - z0))
        values.append((1.0 - torch.sigmoid(above)) if e["label"] else 0.5 * (1 - torch.sigmoid(-above)))
    expected = sum(values).item() / 4
    assert {e["label"] for e in examples} == {True, False}
    # trl copies the adapter it starts with as its reference; here the base is to be that
    plain = kto.Trainer.__init__

    def without_copy(self, *args, **named):
        plain(self, *args, **named)
        for name, weight in work.peft.named_parameters():
            if ".ref." in name and "lora_B" in name:
                weight.data.zero_()

    monkeypatch.setattr(kto.Trainer, "__init__", without_copy)
    kto.train(work)
    assert next(r["loss"] for r in rows_of(work) if "loss" in r) == pytest.approx(expected, abs=1e-4)
    assert work.report.get("notices") == ["A good answer has weight 1, a bad one 0.5."]


def test_it_needs_both_kinds(tmp_path):
    _, store = workspace(tmp_path / "space", n=0)
    with store:
        with pytest.raises(MissingData, match="KTO needs answers marked good or bad"):
            data.rows(store, "kto")
        for prompt in store.add_prompts([f"What is {i}?" for i in range(20)], "person"):
            (one,) = store.add_responses([Response(0, prompt.id, "So it is.", "tiny")])
            store.add_comparison(prompt.id, [one], [[one.id]], [one.id], "me", acceptable=1)
        with pytest.raises(
            MissingData, match=r"KTO needs both good and bad answers to train on; none is bad. Judge some as bad"
        ):
            data.rows(store, "kto")


def test_micro_batches_make_the_same_updates(opened):
    """z0 is that of the whole batch: of answers whose gains differ, a part's own would give another loss."""
    same = {"seed": 60, "steps": 4, "batch_size": 4, "learning_rate": 0.02, "schedule": "constant", "warmup": 0}
    whole, parts = opened(**same), opened(**same, micro_batch=2)
    kto.train(whole)
    kto.train(parts)
    losses = [[r["loss"] for r in rows_of(work) if "loss" in r] for work in (whole, parts)]
    assert losses[1] == pytest.approx(losses[0], abs=2e-4) and abs(losses[0][-1] - 0.5) > 0.01
    close(whole, parts)


def close(whole, parts):
    """Both adapters are the same up to rounding."""
    for (name, a), (_, b) in zip(whole.peft.named_parameters(), parts.peft.named_parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-4), name


def test_the_trainer_takes_no_batch_of_one():
    with pytest.raises(ValueError, match="micro_batch=1"):
        parse("kto", {"micro_batch": 1})


def test_a_run_from_the_command_line_ends_with_an_adapter(place):
    settings, store = place
    run = small_runs.done(settings, small_runs.launch(settings, store, "kto", steps=3))
    assert run.state == "done", run.log_tail()
    assert run.adapter is not None and run.samples() and "KTO, run" in (run.folder / "README.md").read_text()

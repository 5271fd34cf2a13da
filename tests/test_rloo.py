"""RLOO and GRPO in this process on a model of a few thousand weights: advantages by hand, what is sampled, resume."""

import json

import pytest
import torch

from tests import small_runs
from workbench.jobs import control, prepare
from workbench.jobs.runs import find_run, read_run
from workbench.learn.catalogue import METHODS, parse
from workbench.learn.catalogue.rloo import RLOOArgs
from workbench.learn.engine import adapter
from workbench.learn.engine.reporter import Reporter
from workbench.learn.engine.work import Work
from workbench.learn.methods import grpo, reward, rloo, sft
from workbench.models import generate
from workbench.records import Sampling

BOTH = pytest.mark.parametrize("method", ["rloo", "grpo"])
TRAIN = {"rloo": rloo.train, "grpo": grpo.train}
TRAINER = {"rloo": rloo.Trainer, "grpo": grpo.Trainer}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rloo")
    settings, store = small_runs.workspace(folder / "space")
    file = folder / "mine.py"
    file.write_text("def reward(prompts, responses):\n    return [r.count('e') - 0.1 * len(r) for r in responses]\n")
    with store:
        yield settings, store, {"reward": f"file:{file}", "batch_size": 8, "steps": 4, "answers_per_prompt": 4}


@pytest.fixture
def opened(place):
    settings, store, usual = place
    with small_runs.opener(settings, store, "rloo") as open_:
        yield lambda method, start_from=None, **changes: open_(
            method, start_from, **((usual if method in TRAIN else {}) | changes)
        )


def rows_of(work):
    return read_run(work.folder).metrics()[0]


def watched(monkeypatch, method):
    """What the trainer learns from, step by step."""
    batches, plain = [], TRAINER[method]._generate_and_score_completions

    def scored(self, inputs):
        batch = plain(self, inputs)
        batches.append({"prompts": [row["prompt"] for row in inputs]} | batch)
        return batch

    monkeypatch.setattr(TRAINER[method], "_generate_and_score_completions", scored)
    return batches


# of the rewards 1, 0, 0, 0 and 2, 2, 2, 2: the siblings' means are 0, 1/3, 1/3, 1/3 and 2; GRPO takes the group's
# mean, 1/4, and divides by its deviation, sqrt(3/4 / 3) = 1/2
@pytest.mark.parametrize(
    ("method", "loss", "expected"),
    [
        ("rloo", None, [1, -1 / 3, -1 / 3, -1 / 3, 0, 0, 0, 0]),
        ("grpo", "dapo", [1.5, -0.5, -0.5, -0.5, 0, 0, 0, 0]),
        ("grpo", "dr_grpo", [0.75, -0.25, -0.25, -0.25, 0, 0, 0, 0]),
    ],
)
def test_advantages_by_hand(opened, monkeypatch, method, loss, expected):
    changes = {"loss": loss} if loss else {}
    work = opened(method, steps=1, kl_coefficient=0, end_penalty=0, **changes)
    monkeypatch.setattr(rloo, "build", lambda *_: lambda prompts, answers: [1.0, 0, 0, 0, 2, 2, 2, 2])
    batches = watched(monkeypatch, method)
    TRAIN[method](work)
    assert batches[0]["advantages"].tolist() == pytest.approx(expected, abs=1e-3)
    assert [r["same_reward"] for r in rows_of(work) if "same_reward" in r] == [0.5]
    assert [r["reward"] for r in rows_of(work) if "reward" in r] == [1.125]


@BOTH
def test_each_prompt_is_answered_several_times_by_our_own_decoder(opened, monkeypatch, method):
    work = opened(method, steps=2, end_penalty=0)
    answers_of_steps = []
    monkeypatch.setattr(
        rloo, "build", lambda *_: lambda prompts, answers: answers_of_steps.append(answers) or [0.0] * len(answers)
    )
    batches = watched(monkeypatch, method)
    a = work.args
    sampling = Sampling(temperature=a.temperature, max_new_tokens=a.max_new_tokens, seed=a.seed)
    TRAIN[method](work)
    prompts_of_work = [row["prompt"] for row in rloo.prompts(work)]
    assert [text for step in batches for text in step["prompts"][::4]] == prompts_of_work and len(prompts_of_work) == 4
    assert all(step["prompts"][k] == step["prompts"][k - k % 4] for step in batches for k in range(8))
    # a reward that is always the same teaches nothing, so the model that answers is the base, at every step
    for step, (batch, answers) in enumerate(zip(batches, answers_of_steps, strict=True), 1):
        seeds = [(a.seed << 44) + (step << 20) + row for row in range(8)]
        again = generate.generate(work.model, batch["prompts"], sampling, [None] * 8, seeds=seeds)
        assert [g.text for g in again] == answers and len(set(answers)) > 2


@BOTH
def test_on_the_policy_the_ratio_is_one_and_frozen_weights_stay(opened, method):
    work = opened(method, evaluate_every=2)
    before = {n: w.detach().clone() for n, w in work.peft.named_parameters() if w.requires_grad}
    result = TRAIN[method](work)
    assert small_runs.has_known_keys(result)
    assert result["steps"] == 4 and abs(next(r["loss"] for r in rows_of(work) if "loss" in r)) < 1e-3
    after = dict(work.peft.named_parameters())
    assert any(not torch.equal(w, after[n]) for n, w in before.items())
    assert list(work.peft.peft_config) == ["default"], "turning the adapter off is the reference"
    keys = {s.key for c in METHODS[method].curves if not c.sandbox for s in c.series}
    assert keys <= {key for row in rows_of(work) for key in row}


@BOTH
@pytest.mark.parametrize("kl", [0, 0.1])
def test_from_another_run_the_reference_is_where_it_began(opened, method, kl):
    first = opened("sft", steps=2)
    (first.folder / "result.json").write_text(json.dumps(sft.train(first)))
    work = opened(method, read_run(first.folder).number, kl_coefficient=kl, evaluate_every=4)
    began = {n: w.detach().clone() for n, w in work.peft.named_parameters() if ".default." in n}
    TRAIN[method](work)
    after = dict(work.peft.named_parameters())
    assert all(torch.equal(w, after[n.replace(".default.", ".ref.")]) for n, w in began.items())
    assert any(not torch.equal(w, after[n]) for n, w in began.items())
    kls = [r["kl"] for r in rows_of(work) if "kl" in r]
    assert kls[0] == 0 and kls[-1] != 0


def test_an_answer_that_did_not_end_pays_the_penalty(opened, monkeypatch):
    work = opened("rloo", steps=1, kl_coefficient=0, end_penalty=3, answers_per_prompt=16, batch_size=16)
    work.model.hf.generation_config.eos_token_id = list(range(4, 40))  # else this model hardly ever ends
    monkeypatch.setattr(rloo, "build", lambda *_: lambda prompts, answers: [1.0] * 16)
    batches = watched(monkeypatch, "rloo")
    rloo.train(work)
    mask = batches[0]["completion_mask"]
    last = batches[0]["completion_ids"].gather(1, mask.sum(1, keepdim=True) - 1)[:, 0]
    ended = torch.isin(last, torch.tensor(work.model.end_ids))
    row = next(r for r in rows_of(work) if "ended" in r)
    assert row["ended"] == pytest.approx(ended.float().mean().item()) and 0 < row["ended"] < 1
    rewards = 1.0 - 3.0 * (~ended).float()
    expected = rewards - (rewards.sum() - rewards) / 15
    assert batches[0]["advantages"].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert row["reward"] == 1.0 and row["length"] == mask.sum(1).float().mean()
    assert work.report.get("notices") == [
        "All 16 answers of step 1 got the same reward, 1: only whether they ended makes a difference. Check the reward."
    ]


@BOTH
@pytest.mark.parametrize("end_penalty", [0, 1])
def test_a_reward_that_is_always_the_same_moves_nothing_and_says_so(opened, monkeypatch, method, end_penalty):
    """The KL term's gradient is 0 only up to rounding, and Adam makes a whole step of whatever is not 0."""
    work = opened(method, steps=3, kl_coefficient=0.2, end_penalty=end_penalty)
    monkeypatch.setattr(rloo, "build", lambda *_: lambda prompts, answers: [0.5] * len(answers))
    monkeypatch.setattr(TRAINER[method], "sample", unended(TRAINER[method].sample))
    before = {n: w.detach().clone() for n, w in work.peft.named_parameters() if w.requires_grad}
    result = TRAIN[method](work)
    after = dict(work.peft.named_parameters())
    assert all(torch.equal(w, after[n]) for n, w in before.items()) and result["kl"] == 0
    assert work.report.get("notices") == [
        "Step 1 made no update: the answers to each prompt all got the same reward, so there was nothing to learn from. "
        "Check the reward.",
        "3 steps made no update, all for this reason.",
    ]
    assert [r["same_reward"] for r in rows_of(work) if "same_reward" in r] == [1, 1, 1]


def unended(plain):
    """Without end tokens, so that every answer pays the same penalty."""
    return lambda self: [[i for i in ids if i not in self.work.model.end_ids] or [40] for ids in plain(self)]


def letters(text):
    """Share of the characters that are letters."""
    return sum(c.isalpha() for c in text) / max(1, len(text))


def test_it_learns_what_is_rewarded(opened, monkeypatch):
    sizes = {"steps": 30, "batch_size": 32, "evaluate_every": 30, "max_new_tokens": 12}
    work = opened(
        "rloo", kl_coefficient=0, learning_rate=0.01, seed=1, **sizes
    )  # from .4 to 1; .25 more at least, seeds 0-4
    monkeypatch.setattr(rloo, "build", lambda *_: lambda prompts, answers: [letters(a) for a in answers])
    rloo.train(work)
    rewards = [r["reward"] for r in rows_of(work) if "reward" in r]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.2


def test_a_reward_model_scores_and_is_left_alone(opened, place):
    settings, store, _ = place
    scorer = prepare.prepare_run(settings, store, "reward", parse("reward", {"steps": 2, "batch_size": 4}))
    report = Reporter(scorer.folder)
    reward.train(Work.open(scorer, report))
    report.close()
    control.write_status(scorer.folder, state="done")
    number = scorer.number
    (scorer.folder / "gate.json").write_text('{"verdict": "green", "reason": "tested", "helps": ""}')
    work = opened("rloo", steps=2, reward=f"run:{number}")
    frozen = adapter.frozen_hash(work.peft)
    rloo.train(work)
    assert adapter.frozen_hash(work.peft) != frozen, "the reward model's adapter is frozen, too, and was hashed"
    trainable = {n for n, w in work.peft.named_parameters() if w.requires_grad}
    assert trainable and all(".default." in n for n in trainable)
    assert len({r["reward"] for r in rows_of(work) if "reward" in r}) == 2


def test_a_reward_without_a_number_skips_the_step(opened, monkeypatch):
    work = opened("rloo", steps=3, evaluate_every=3)
    calls = []

    def scored(prompts, answers):
        calls.append(1)
        return [float("nan") if len(calls) == 2 and k == 0 else float(len(a)) for k, a in enumerate(answers)]

    monkeypatch.setattr(rloo, "build", lambda *_: scored)
    rloo.train(work)
    assert {"step": 2, "rejected": True} in rows_of(work)
    assert work.report.get("notices") == ["Step 2 gave no valid number and was skipped."]


def test_micro_batches_answer_the_same(opened, monkeypatch):
    answers = []
    for micro in (None, 2):
        batches = watched(monkeypatch, "rloo")
        rloo.train(opened("rloo", steps=1, seed=77, micro_batch=micro))
        answers.append(batches[0]["completion_ids"])
    assert torch.equal(answers[0], answers[1])


def test_a_run_killed_and_resumed_equals_one_that_ran_through(place):
    settings, store, usual = place
    method, usual = "rloo", usual | {"steps": 6}
    whole = small_runs.done(settings, small_runs.launch(settings, store, method, **usual))
    cut = small_runs.launch(settings, store, method, **usual, held_out=99)
    small_runs.reached(settings, cut, 3)
    control.stop(settings, find_run(settings.workspace, cut.number))
    resumed = small_runs.done(settings, control.resume(settings, find_run(settings.workspace, cut.number)))
    assert whole.state == resumed.state == "done", resumed.log_tail()

    def figures(run):
        return [{k: v for k, v in r.items() if not k.startswith("seconds_")} for r in small_runs.figures(run)]

    assert figures(resumed) == figures(whole)
    weights = [(r.adapter / "adapter_model.safetensors").read_bytes() for r in (whole, resumed)]
    assert weights[0] == weights[1]


def test_answers_per_prompt_must_divide_the_batch():
    with pytest.raises(ValueError, match="answers_per_prompt=5: must divide batch_size \\(64\\) evenly"):
        parse("rloo", {"answers_per_prompt": 5})
    assert isinstance(parse("grpo", {}), RLOOArgs)

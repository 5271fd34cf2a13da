"""The Compare tab's functions, without a browser: blind until the vote, votes counted honestly, held-out prompts measured."""

from __future__ import annotations

import json
import time
from itertools import count

import pytest

from tests import reward_runs
from workbench.jobs import prepare
from workbench.jobs.runs import find_run
from workbench.learn.catalogue import parse
from workbench.processes import write_status
from workbench.records import Response, Sampling, split_of
from workbench.ui import compare, measured, rewards
from workbench.ui.context import Context, Refused


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(base folder, adapter folder): a model of a few thousand weights, and what a run made of it."""
    from tests import tiny_model

    folder = tmp_path_factory.mktemp("tiny")
    base = tiny_model.base(folder / "base")
    return base, tiny_model.adapter(base, folder / "adapter", seed=1)


@pytest.fixture
def context(settings, store, trained, monkeypatch):
    """A page with the tiny model, 40 prompts, and run 1 (SFT) and run 2 (DPO) trained on some.

    Questions are asked with seeds 1, 2, ...: one in twenty of the tiny model's answers is empty.
    """
    import shutil
    from dataclasses import replace

    seeds = count(1)
    monkeypatch.setattr(compare.secrets, "randbelow", lambda below: next(seeds))
    base, adapter = trained
    page = Context(replace(settings, model=str(base)), store)
    for prompt in store.add_prompts([f"What is {i} plus {i}?" for i in range(40)], "person"):
        store.add_demonstration(prompt.id, "An answer.", "me")
        good, bad = store.add_responses([Response(0, prompt.id, text, "x") for text in ("Yes.", "no!")])
        store.add_comparison(prompt.id, [good, bad], [[good.id], [bad.id]], [good.id, bad.id], "me")
    for method in ("sft", "dpo"):
        run = prepare.prepare_run(page.settings, store, method, parse(method, {}))
        shutil.copytree(adapter, run.folder / "adapter")
        write_status(run.folder, state="done", seconds=7, step=40)
    return page


def ask(context, **changes):
    payload = {"prompt": "What is 3 plus 3?", "runs": [None, 1], "strength": 1.0, "blind": True, "rater": "me"}
    return compare.ask(context, payload | changes)["id"]


def finished(context, name):
    """Every message of the stream, up to the one that says it is over."""
    version, seen = 0, []
    end = time.monotonic() + 120
    while time.monotonic() < end:
        seen.append(compare.stream(context, {"id": name, "version": version}))
        version = seen[-1]["version"]
        if seen[-1]["state"] != "writing":
            return seen
        time.sleep(0.02)
    raise AssertionError("no answer came")


# Asking


def test_the_models_and_the_held_out_prompts_are_offered(context):
    offer = compare.choices(context, {"rater": "me"})
    assert [(m["run"], m["label"], m["colour"]) for m in offer["models"]] == [
        (None, "Base", "base"),
        (2, "DPO, run 2", "dpo"),
        (1, "SFT, run 1", "sft"),
    ]
    assert offer["prompts"] and all(split_of(p) == "heldout" for p in offer["prompts"])


def test_an_adapter_of_another_base_is_not_offered(context):
    run = find_run(context.settings.workspace, 1)
    config = json.loads((run.folder / "config.json").read_text())
    (run.folder / "config.json").write_text(json.dumps(config | {"model": "another"}))
    assert [m["run"] for m in compare.choices(context, {})["models"]] == [None, 2]
    with pytest.raises(Refused, match="Run 1 has no finished model"):
        ask(context)


@pytest.mark.parametrize(
    "payload",
    [
        {"prompt": "  "},
        {"prompt": None},
        {"prompt": "x" * 20_001},
        {"runs": [None]},
        {"runs": [None, None]},
        {"runs": [None, 99]},
        {"runs": [None, "../1"]},
        {"runs": "12"},
        {"strength": 1.6},
        {"strength": float("nan")},
        {"strength": True},
        {"strength": "1"},
    ],
)
def test_what_cannot_be_asked_is_refused(context, payload):
    with pytest.raises(Refused):
        ask(context, **payload)


def test_a_blind_answer_says_nothing_about_its_writer(context):
    name = ask(context)
    seen = finished(context, name)
    assert seen[-1]["state"] == "done" and seen[-1]["reveal"] is None
    text = json.dumps(seen)
    assert all(word not in text for word in ("SFT", "Base", "sft", "base", "spans", "tokens", "kl"))
    assert set(seen[-1]["texts"]) == {"0", "1"}


def test_a_reward_is_told_only_when_it_cannot_bias_the_vote(context, trained):
    base = context.settings.model
    reward_runs.weights(reward_runs.folder(context.settings.workspace, 3, "amber", model=base), trained[0])
    reward_runs.folder(context.settings.workspace, 4, model="another/base")
    assert [r["run"] for r in compare.choices(context, {})["rewards"]] == [3]
    name = ask(context)
    texts = finished(context, name)[-1]["texts"]
    asked = {"id": name, "run": 3}
    with pytest.raises(Refused, match="after your vote"):
        compare.reward(context, asked)
    compare.vote(context, {"id": name, "choice": 0, "rater": "me"})
    figures = compare.reward(context, asked)["figures"]
    alone = rewards.model(context, 3).score(["What is 3 plus 3?"] * 2, [texts["0"], texts["1"]])
    assert figures == [f"reward {value:.2f}, run 3".replace("-", "−") for value in alone]
    with pytest.raises(Refused, match="another/base"):
        compare.reward(context, asked | {"run": 4})
    compare.undo(context, {"id": name, "rater": "me"})
    with pytest.raises(Refused, match="after your vote"):
        compare.reward(context, asked)
    name = ask(context, blind=False)
    finished(context, name)
    assert len(compare.reward(context, {"id": name, "run": 3})["figures"]) == 2


def test_sides_are_at_random(context):
    orders = {tuple(compare.questions(context)[ask(context)].order) for _ in range(24)}
    assert orders == {(0, 1), (1, 0)}  # by chance only one of them once in 2**23


def test_strength_zero_is_the_base_word_for_word(context):
    texts = finished(context, ask(context, blind=False, strength=0.0))[-1]["texts"]
    assert texts["0"] == texts["1"] != ""


def test_names_and_figures_come_with_an_open_comparison(context):
    name = ask(context, blind=False, strength=1.25)
    who = finished(context, name)[-1]["reveal"]
    one = compare.questions(context)[name]
    by_label = {each["label"]: each for each in who}
    assert set(by_label) == {"Base", "SFT, run 1 at 1.25"}
    for slot, place in enumerate(one.order):
        assert "".join(part["text"] for part in who[slot]["spans"]) == one.answers[place]["text"]
    assert {part["mark"] for part in by_label["Base"]["spans"]} <= {None, "old"}
    assert {part["mark"] for part in by_label["SFT, run 1 at 1.25"]["spans"]} <= {None, "new"}
    assert any("KL" in f for f in by_label["SFT, run 1 at 1.25"]["figures"])
    assert not any("KL" in f for f in by_label["Base"]["figures"])


def test_the_dial_keeps_seed_and_sides_only_once_names_are_known(context):
    first = ask(context, blind=False)
    again = ask(context, blind=False, like=first, strength=0.5)
    assert compare.questions(context)[again].sampling == compare.questions(context)[first].sampling
    assert compare.questions(context)[again].order == compare.questions(context)[first].order
    blind = [compare.questions(context)[ask(context, like=first)].sampling.seed for _ in range(2)]
    assert len({*blind, compare.questions(context)[first].sampling.seed}) == 3


def test_asking_again_gives_up_the_question_before(context):
    first = ask(context)
    second = ask(context, replaces=first)
    assert finished(context, first)[-1]["state"] in ("cancelled", "done")
    assert finished(context, second)[-1]["state"] == "done"


def test_a_comparison_that_is_over_is_refused(context):
    with pytest.raises(Refused, match="Ask again"):
        compare.stream(context, {"id": "nothing", "version": 0})


# Voting


def test_a_vote_is_stored_with_both_answers_and_then_the_names_are_shown(context):
    name = ask(context)
    finished(context, name)
    answer = compare.vote(context, {"id": name, "choice": 1, "seconds": 3.5, "rater": "me"})
    one, verdict = compare.questions(context)[name], context.store.verdicts()[0]
    chosen = context.store.response(verdict.choice)
    assert (verdict.rater, verdict.seconds, verdict.simulated) == ("me", 3.5, False)
    assert chosen.text == one.answers[one.order[1]]["text"]
    assert (chosen.run, chosen.sampling) == (one.models[one.order[1]][0], one.sampling)
    assert {w["label"] for w in answer["reveal"]} == {"Base", "SFT, run 1"}
    assert answer["said"].startswith("You preferred answer B: ")


def test_a_vote_sent_twice_is_stored_once_and_can_be_undone_and_given_again(context):
    name = ask(context)
    finished(context, name)
    vote = {"id": name, "choice": "tie", "rater": "me"}
    assert compare.vote(context, vote)["verdict"] == compare.vote(context, vote)["verdict"]
    assert len(context.store.verdicts()) == 1
    compare.undo(context, {"id": name, "rater": "me"})
    assert context.store.verdicts() == []
    compare.vote(context, vote | {"choice": "bad"})
    assert [v.choice for v in context.store.verdicts()] == ["bad"]


def test_only_complete_blind_answers_of_ones_own_can_be_voted_on(context):
    open_ = ask(context, blind=False)
    finished(context, open_)
    mine = ask(context)
    with pytest.raises(Refused, match="blind"):
        compare.vote(context, {"id": open_, "choice": 0, "rater": "me"})
    finished(context, mine)
    for wrong in ({"choice": 2}, {"choice": -1}, {"choice": True}, {"choice": "A"}, {"rater": "somebody else"}):
        with pytest.raises(Refused):
            compare.vote(context, {"id": mine, "choice": 0, "rater": "me"} | wrong)
    assert context.store.verdicts() == []


def voted(context, run, wins, ties, losses, prompt="What is 3 plus 3?", simulated=False, strength=1.0):
    """Store verdicts on the base (None) against a run, as wins, ties and losses of the run."""
    store = context.store
    asked = store.add_prompts([prompt], "person")[0]
    for i, outcome in enumerate(["win"] * wins + ["tie"] * ties + ["loss"] * losses):
        base, other = store.add_responses(
            [
                Response(0, asked.id, f"base {i}", context.settings.model, None, Sampling(seed=i)),
                Response(0, asked.id, f"run {i}", context.settings.model, run, Sampling(seed=i), strength),
            ]
        )
        choice = {"win": other.id, "loss": base.id, "tie": "tie"}[outcome]
        store.add_verdict(asked.id, [base.id, other.id], choice, "me", simulated=simulated)


def tally(context, **changes):
    return compare.tally(context, {"runs": [None, 2], "strength": 1.0} | changes)


def test_the_win_rate_by_hand(context):
    heldout = compare.choices(context, {})["prompts"][0]
    voted(context, 2, 13, 2, 3, prompt=heldout)
    pair = tally(context)["pairs"][0]
    # (13 + 1) / 18 = .778; Wilson: (.7778 + .1067 ± 1.96 sqrt(.00960 + .00296)) / 1.2134 = .548 .. .910
    assert pair["title"] == "DPO, run 2 wins 78 % of blind votes"
    assert pair["words"] == (
        "13 wins, 2 ties and 3 losses in 18 votes; ties count half. "
        "95 % interval 55 to 91 %: it excludes 50 %, so chance alone is unlikely."
    )
    assert (round(pair["low"], 3), round(pair["high"], 3), pair["n"]) == (0.548, 0.910, 18)


def test_under_ten_votes_there_is_no_rate(context):
    voted(context, 2, 9, 0, 0)
    pair = tally(context)["pairs"][0]
    assert not pair["ready"] and "value" not in pair
    assert pair["words"] == "9 votes. The win rate appears at 10."


def test_a_rate_that_may_be_chance_says_so_and_names_training_prompts(context):
    training = next(p.text for p in context.store.prompts() if p.split == "train")
    voted(context, 2, 6, 0, 5, prompt=training)
    sentence = tally(context)["pairs"][0]["words"]
    assert "it includes 50 %, so this may be chance." in sentence
    assert sentence.endswith("11 votes were on prompts that a run may have trained on.")


def test_simulated_votes_are_apart_and_named(context):
    voted(context, 2, 12, 0, 0, simulated=True)
    answer = tally(context)
    assert not answer["pairs"][0]["ready"]
    assert answer["simulated"] == [
        "Simulated raters, not counted above: DPO, run 2 wins 100 % (76 to 100) against Base, n 12."
    ]


def test_each_strength_and_each_pair_is_counted_by_itself(context):
    voted(context, 2, 10, 0, 0)
    voted(context, 2, 0, 0, 10, strength=0.5)
    voted(context, 1, 5, 0, 5)
    assert tally(context)["pairs"][0]["value"] == 1.0
    assert tally(context, strength=0.5)["pairs"][0]["value"] == 0.0
    pairs = tally(context, runs=[None, 2, 1])["pairs"]
    assert [(p["title"], p["value"]) for p in pairs] == [
        ("SFT, run 1 wins 50 % of blind votes against base", 0.5),
        ("DPO, run 2 wins 100 % of blind votes against base", 1.0),
    ]


def test_a_vote_for_a_third_model_says_nothing_about_the_other_two(context):
    store = context.store
    prompt = store.add_prompts(["Which?"], "person")[0]
    three = store.add_responses([Response(0, prompt.id, f"{run}", context.settings.model, run) for run in (None, 1, 2)])
    store.add_verdict(prompt.id, [r.id for r in three], three[2].id, "me")
    pairs = tally(context, runs=[None, 1, 2])["pairs"]
    assert [p["words"].split(". ")[0] for p in pairs] == ["0 votes", "1 vote"]


# Measuring


def test_measuring_answers_each_held_out_prompt_once_and_keeps_it(context):
    asked = measured.prompts(context, measured.PROMPTS)
    assert 2 <= len(asked) < measured.AT_ONCE and all(split_of(p) == "heldout" for p in asked)
    lineup = {"runs": [None, 1], "strength": 1.0}
    assert compare.measured(context, lineup)["state"] == "none"
    compare.measure(context, lineup)
    end = time.monotonic() + 120
    while (report := compare.measured(context, lineup))["state"] == "running" and time.monotonic() < end:
        time.sleep(0.05)
    assert (report["state"], report["done"]) == ("done", 2 * len(asked))
    _, length, kl = report["result"]["plots"]
    assert [s["label"] for s in length["series"]] == ["Base", "SFT, run 1"]
    assert [s["label"] for s in kl["series"]] == ["SFT, run 1"]
    assert all(abs(sum(s["shares"]) - 100) < 1e-6 for s in length["series"] + kl["series"])
    # the base's answers are known by now, whoever stands beside it
    assert compare.measured(context, {"runs": [None, 2], "strength": 1.0})["done"] == len(asked)
    json.dumps(report, allow_nan=False)


def test_without_held_out_prompts_there_is_nothing_to_measure(context, monkeypatch):
    monkeypatch.setattr(measured, "prompts", lambda *_, **__: [])
    with pytest.raises(Refused, match="no held-out prompts"):
        compare.measure(context, {"runs": [None, 1], "strength": 1.0})


def test_bins_are_round_and_count_every_value():
    assert measured._edges(0, 13) == [float(k) for k in range(14)]
    assert measured._edges(-1.3, 9) == [float(k) for k in range(-2, 10)]
    assert measured._edges(5, 5) == [5.0, 5.0000001]
    assert measured.counts([0.0, 0.1, 0.5, 1.0], [0.0, 0.5, 1.0]) == [2, 2]
    assert measured.counts([-3.0, 9.0], [0.0, 0.5, 1.0]) == [1, 1]


def rows(gold, tokens):
    return [{"gold": g, "tokens": t, "kl": 1.0, "text": ""} for g, t in zip(gold, tokens, strict=True)]


def test_the_sentences_say_what_the_figures_allow():
    candidates = [
        measured.Candidate(None, 1.0, None, "Base", "base"),
        measured.Candidate(7, 1.0, None, "DPO, run 7", "dpo"),
    ]
    base, other = rows([0.2] * 30, [20] * 30), rows([0.8] * 20 + [0.2] * 10, [12] * 30)
    result = measured.summary(candidates, [base, other])
    gold, length, _ = result["plots"]
    assert gold["sentence"].startswith("DPO, run 7 minus the base: +0.40 (") and gold["sentence"].endswith(
        "n 30), clear."
    )
    assert [round(s["mean"], 3) for s in gold["series"]] == [0.2, 0.6]
    assert length["sentence"] == "Answers became shorter, so length does not explain a gain."
    # 20 wins and 10 ties in 30: 25 / 30 = 83 %, Wilson 66 to 93
    assert result["gold_words"] == [
        "By gold score, DPO, run 7 wins 83 % (66 to 93) against the base, n 30; ties count half."
    ]
    same = measured.summary(candidates, [base, base])["plots"]
    assert same[0]["sentence"].endswith("within chance.") and same[1]["sentence"].startswith(
        "No clear change in length (n 30)"
    )
    longer = measured.summary(candidates, [base, rows([0.8] * 30, [31] * 30)])["plots"]
    assert longer[1]["sentence"] == "Answers grew by 11 tokens: check whether length alone explains a gain."


def test_the_older_of_two_runs_of_a_method_is_fainter():
    candidates = [measured.Candidate(n, 1.0, None, f"DPO, run {n}", "dpo") for n in (3, 7)]
    result = measured.summary(candidates, [rows([0.1, 0.2], [1, 2])] * 2)
    assert [s["faint"] for s in result["plots"][0]["series"]] == [True, False]

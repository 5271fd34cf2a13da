"""The gate's figures by hand, and which of them stop a reward model, slow it down, or let it pass."""

import json
import math
import random
from dataclasses import replace

import pytest

from workbench.intervals import wilson
from workbench.learn.rewards import gate
from workbench.learn.rewards.gate import Pair


def vote(prompt, better, worse, rater="me"):
    return {"prompt": prompt, "answers": [better, worse], "places": [0, 1], "rater": rater}


def pair(margin, longer=0):
    return Pair(margin, longer, 1, "")


# Figures by hand


def test_pairs_of_a_ranking_share_a_weight_of_one_and_ties_give_none():
    rows = [{"prompt": "q", "answers": ["a b c", "a", "b c"], "places": [0, 1, 1]}]
    pairs = gate.pairs_of(rows, [[2.0, 1.0, 3.0]])
    assert pairs == [Pair(1.0, 2, 0.5, "q"), Pair(-1.0, 1, 0.5, "q")]
    assert gate.pairs_of([{"prompt": "q", "answers": ["a", "b"], "places": [0, 0]}], [[1.0, 2.0]]) == []


def test_accuracy_counts_rankings_and_equal_scores_half():
    pairs = [*of(Pair(1, 0, 1, ""), Pair(-1, 0, 1, ""), Pair(0, 0, 1, "")), Pair(2, 0, 0.5, "r"), Pair(-2, 0, 0.5, "r")]
    a = gate.accuracy(pairs)
    assert (a["value"], a["n"], a["prompts"]) == (0.5, 4, 4)
    # the four prompts' shares 1, 0, .5, .5 spread less than coins do, and four are four
    assert (a["low"], a["high"]) == pytest.approx(wilson(2, 4))


def of(*pairs):
    """Each pair on a prompt of its own."""
    return [replace(pair, prompt=str(i)) for i, pair in enumerate(pairs)]


def test_calibration_by_hand():
    sure, unsure = math.log(9), math.log(1.5)  # confidence .9 and .6
    pairs = of(*[pair(sure)] * 9, pair(-sure), *[pair(unsure)] * 6, *[pair(-unsure)] * 4)
    c = gate.calibration(pairs)
    assert c["ece"] == pytest.approx(0, abs=1e-9) and c["overconfidence"] == pytest.approx(0, abs=1e-9)
    assert c["slope"] == pytest.approx(1, abs=0.05) and c["slope_low"] < 1 < c["slope_high"]
    twice = gate.calibration([replace(p, margin=2 * p.margin) for p in pairs])
    assert twice["slope"] == pytest.approx(c["slope"] / 2)
    assert twice["overconfidence"] > 0.05
    # .9 sure, .6 right: one bin, off by .3
    shifted = gate.calibration(of(*[pair(sure - 1e-9)] * 6, *[pair(-sure + 1e-9)] * 4))
    assert shifted["ece"] == pytest.approx(0.3) and len(shifted["bins"]) == 1 and shifted["bins"][0]["n"] == 10


def test_votes_that_are_all_met_have_no_slope():
    assert gate.calibration(of(*[pair(1)] * 5))["slope"] is None


def test_consistency_and_the_ceiling_by_hand():
    rows = [vote("q", "a", "b"), vote("q", "a", "b", "you"), vote("q", "b", "a"), vote("r", "a", "b")]
    agreement = gate.consistency(rows)
    # three judgements of one pair: me-you agree, me-me and you-me do not
    assert (agreement["value"], agreement["n"], agreement["n_same_rater"], agreement["n_different_raters"]) == (
        1 / 3,
        3,
        1,
        2,
    )
    assert agreement["ceiling"] is None  # two judgements by different raters are too few to know it by
    both = [
        vote(f"p{i}", *pair, rater)
        for i in range(50)
        for rater, pair in (("me", "ab"), ("you", "ab" if i < 41 else "ba"))
    ]
    assert gate.consistency(both)["ceiling"] == pytest.approx(0.9, abs=0.001)  # .82 agree
    alone = [{**row, "rater": "me"} for row in both]
    assert gate.consistency(alone)["ceiling"] is None  # a rater who repeats himself tells nothing of the others
    assert gate._ceiling(0.82) == pytest.approx(0.9)  # .9² + .1²
    assert gate.consistency([vote("q", "a", "b"), vote("r", "a", "b")])["value"] is None


def test_rank_correlation_by_hand():
    assert gate.ranks([10, 20, 10, 5]) == [2.5, 4, 2.5, 1]
    assert gate.spearman([1, 2, 3, 4], [1, 2, 3, 4]) == 1
    assert gate.spearman([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    assert gate.spearman([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]) == pytest.approx(0.9)  # 1 - 6·2/(5·24)
    assert gate.spearman([1, 1], [1, 2]) is None


def test_length_compares_the_model_with_its_raters():
    # longer is preferred by the raters in 2 of 4 and by the model in 3 of 4 pairs
    pairs = of(pair(1, 3), pair(1, 2), pair(-1, -3), pair(1, -1), pair(1, 0))
    f = gate.length(pairs)
    assert (f["raters"], f["model"], f["pairs"], f["n"]) == (0.5, 0.75, 4, 5)
    assert f["low"] < f["r"] < f["high"]


def test_each_way_of_spoiling_does_what_it_says():
    text = "It is blue. It is big."
    ways = gate.spoil(text)
    assert ways["padding"].startswith(text + " ") and len(ways["padding"]) > 2 * len(text)
    assert text in ways["flattery"] and "genius" in ways["flattery"]
    assert ways["repetition"] == " ".join([text] * 3)
    assert ways["empty"] == ""
    assert ways["bullets"].split("\n")[:2] == ["- It is blue.", "- It is big."]


# Verdicts


def world(n=120, seed=0):
    """Votes on answers whose goodness is a number in them: (train rows, held-out rows)."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        a, b = rng.sample(range(100), 2)
        filler = ["so"] * rng.randint(0, 3)
        rows.append(vote(f"q{i}", f"worth {max(a, b)} {' '.join(filler)}.", f"worth {min(a, b)} so so."))
    return rows[: n // 2], rows[n // 2 :]


def honest(prompts, answers):
    """Scores the number, and takes off for whatever else is said."""
    return [
        (float(a.split()[1]) / 20 if a.startswith("worth") else -5.0) - 0.8 * len(a.split()) / 4 if a else -9.0
        for a in answers
    ]


def by_length(prompts, answers):
    return [float(len(a.split())) for a in answers]


def level(report, check):
    return next(f["level"] for f in report["findings"] if f["check"] == check)


def test_a_good_model_is_green_and_says_what_is_unknown():
    train, heldout = world()
    report = gate.judge(honest, heldout, train)
    assert report["verdict"] == "green", report["findings"]
    assert level(report, "consistency") == "unknown"
    assert "60 held-out pairs" in report["reason"]
    json.dumps(report, allow_nan=False)


def test_guessing_is_red():
    train, heldout = world()
    rng = random.Random(1)
    report = gate.judge(lambda p, a: [rng.gauss(0, 1) for _ in a], heldout, train)
    assert report["verdict"] == "red" and level(report, "accuracy") == "red"
    assert "guessing" in report["reason"] and "Rank more" in report["helps"]


def test_nothing_held_out_is_red():
    report = gate.judge(honest, [], world()[0])
    assert report["verdict"] == "red" and "no held-out" in report["reason"]
    json.dumps(report, allow_nan=False)


def test_a_model_that_goes_by_length_is_red_and_the_reason_names_it():
    rows = [vote(f"q{i}", "good " * (i % 7 + 3), "good " * (i % 3 + 1)) for i in range(80)]
    report = gate.judge(by_length, rows, [])
    assert level(report, "accuracy") == "green"  # its raters do prefer the longer one
    assert report["verdict"] == "red"
    assert {"padding", "repetition", "bullets"} <= {f["check"] for f in report["findings"] if f["level"] == "red"}
    assert level(report, "length") in ("amber", "red")
    assert "PPO would exploit this" in report["reason"]


def test_a_model_that_is_much_too_sure_is_amber():
    train, heldout = world()
    rng = random.Random(2)
    shaken = [{**row, "places": [1, 0] if rng.random() < 0.25 else [0, 1]} for row in heldout]
    report = gate.judge(honest, shaken, train, unit=20.0)
    assert level(report, "calibration") == "amber"
    assert "overconfident" in next(f["says"] for f in report["findings"] if f["check"] == "calibration")


def test_as_good_as_raters_who_disagree_is_as_good_as_can_be():
    _, heldout = world(160)
    rng = random.Random(3)
    noisy = [{**row, "places": [1, 0] if rng.random() < 0.35 else [0, 1]} for row in heldout]
    again = [{**row, "places": [1, 0] if rng.random() < 0.35 else [0, 1], "rater": "you"} for row in heldout]
    report = gate.judge(honest, noisy, again)
    assert report["accuracy"]["value"] < 0.75
    assert report["consistency"]["n"] == 80 and report["consistency"]["ceiling"] < 0.8
    assert level(report, "accuracy") == "green"
    assert "as well as the raters" in next(f["says"] for f in report["findings"] if f["check"] == "accuracy")


def right(share, n, prompts=None):
    """Held-out votes and a score that agrees with that share of them: (rows, score)."""
    prompts = prompts or n
    rows = [vote(f"q{i % prompts}", f"{i} good", f"{i} bad") for i in range(n)]
    wrong = {f"{i} bad" for i in range(round(n * (1 - share)))}
    return rows, lambda p, a: [2.0 if text in wrong else 1.0 if text.endswith("good") else 0.0 for text in a]


def accuracy_of(rows, score, train=()):
    return next(f for f in gate.judge(score, rows, train)["findings"] if f["check"] == "accuracy")


def test_one_vote_repeated_does_not_turn_a_small_test_green():
    rows, score = right(1, 8)
    assert accuracy_of(rows, score)["level"] == "amber"
    twice = [vote("t", "good", "bad"), vote("t", "good", "bad")]
    assert accuracy_of(rows, score, twice)["level"] == "amber"


def test_58_percent_of_1000_stays_weak_whatever_the_raters_agree_on():
    rows, score = right(0.58, 1000)
    assert accuracy_of(rows, score)["level"] == "amber"
    torn = [
        vote(f"t{i}", *("ab" if rater == "me" or i % 2 else "ba"), rater) for i in range(80) for rater in ("me", "you")
    ]
    finding = accuracy_of(rows, score, torn)
    assert finding["level"] == "amber" and "weak, about as well as the raters agree" in finding["says"]
    assert "Agree on what to rank by" in finding["helps"]


def test_sixty_votes_on_one_prompt_are_one_prompt():
    rows, score = right(1, 60, prompts=1)
    finding = accuracy_of(rows, score)
    assert finding["level"] == "red" and "60 held-out pairs on 1 prompt" in finding["says"]
    assert (finding["low"], finding["high"]) == pytest.approx(wilson(1, 1))
    rows, score = right(0.9, 60, prompts=60)
    assert accuracy_of(rows, score)["level"] == "green"

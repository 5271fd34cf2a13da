"""Rank: what the page asks of Python, over a real store and a real queue of pairs."""

import threading
import time

import pytest

from tests.pages import Scripted
from workbench.store import Conflict
from workbench.ui import rank as tab
from workbench.ui.context import Refused

ME = {"rater": "you"}


@pytest.fixture
def context(tmp_path):
    page = Scripted(tmp_path)
    yield page
    page.close()


@pytest.fixture
def prompts(context):
    return context.store.add_prompts([f"Question {n}?" for n in range(8)], "person")


def deal(context, page="page", n=2, have=(), rater="you"):
    """Pairs as the page asks for them: again and again until they are there."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        answer = tab.rank_pairs(context, {"rater": rater, "page": page, "n": n, "have": list(have)})
        if len(answer["pairs"]) >= n:
            return answer["pairs"]
        have = [*have]
        time.sleep(0.02)
    raise AssertionError(f"no pairs: {answer}")


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.01)


def vote(context, pair, choice, token="t" * 16, rater="you", page="page", **more):
    sent = {"prompt_id": pair["prompt_id"], "shown": pair["shown"], "choice": choice, "token": token, "page": page}
    return tab.vote(context, {"rater": rater, **sent, **more})


def test_without_prompts_the_page_is_told_so_even_while_the_model_loads(context):
    context.model_state = "loading"
    answer = tab.rank_pairs(context, ME | {"page": "p", "n": 2, "have": []})
    assert answer["empty"] and answer["pairs"] == []


def test_the_first_prompts_come_from_the_starter_and_more_are_other_ones(context):
    assert tab.make_pairs(context, ME) == {"added": 20}
    assert tab.make_pairs(context, ME) == {"added": 20}
    assert context.store.counts()["prompts"] == 40


def test_a_pair_does_not_tell_who_wrote_what(context, prompts):
    (pair,) = deal(context, n=1)
    assert set(pair) == {"key", "prompt_id", "prompt", "shown", "texts"}
    by_id = {each.id: each.text for each in context.store.responses()}
    assert [by_id[id] for id in pair["shown"]] == pair["texts"]


def test_a_reload_shows_the_same_pair_and_another_page_another(context, prompts):
    first = deal(context, n=2)
    assert deal(context, n=2) == first  # the page forgot what it held
    held = [pair["key"] for pair in first]
    other = deal(context, page="other", n=2)
    assert not set(held) & {pair["key"] for pair in other}
    vote(context, first[0], "a")
    assert deal(context, n=1)[0]["key"] == held[1]


def test_a_page_cannot_hoard_pairs(context, prompts):
    have = [pair["key"] for pair in deal(context, n=tab.AT_ONCE)]
    assert tab.rank_pairs(context, ME | {"page": "page", "n": 50, "have": have})["pairs"] == []


@pytest.mark.parametrize(
    ("choice", "groups", "acceptable"),
    [("a", ((0,), (1,)), None), ("b", ((1,), (0,)), None), ("tie", ((0, 1),), None), ("bad", ((0, 1),), 0)],
)
def test_choices_become_rankings(context, prompts, choice, groups, acceptable):
    (pair,) = deal(context, n=1)
    vote(context, pair, choice, seconds=2.5)
    (stored,) = context.store.comparisons()
    assert stored.groups == tuple(tuple(pair["shown"][at] for at in group) for group in groups)
    assert stored.acceptable == acceptable and stored.shown == tuple(pair["shown"]) and stored.seconds == 2.5
    assert stored.question == tab.QUESTION and not stored.simulated and stored.rater == "you"
    assert tab.choices(context, ME)["last"][0]["choice"] == choice


def test_16_sending_a_vote_twice_stores_it_once_even_at_the_same_moment(context, prompts):
    (pair,) = deal(context, n=1)
    ids = []
    threads = [threading.Thread(target=lambda: ids.append(vote(context, pair, "a")["id"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 1 and len(ids) == 8 and len(context.store.comparisons()) == 1


def test_16_many_people_at_once_lose_and_double_nothing(context):
    context.store.add_prompts([f"Question {n}?" for n in range(40)], "person")
    people, each = 12, 4

    def judge(name):
        for turn in range(each):
            (pair,) = deal(context, page=name, n=1, rater=name)
            vote(context, pair, "ab"[turn % 2], token=f"{name}-token-{turn}", rater=name, page=name)

    threads = [threading.Thread(target=judge, args=(f"person {n}",)) for n in range(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = context.store.comparisons()
    assert len(stored) == people * each and len({row.shown for row in stored}) == people * each


def test_my_own_answer_is_a_demonstration_and_a_choice_and_is_undone_whole(context, prompts):
    (pair,) = deal(context, n=1)
    sent = {
        "prompt_id": pair["prompt_id"],
        "shown": pair["shown"],
        "token": "o" * 16,
        "page": "page",
        "text": " Mine. ",
    }
    saved = tab.own(context, ME | sent)
    assert tab.own(context, ME | sent)["id"] == saved["id"]
    (demonstration,), (comparison,) = context.store.demonstrations(), context.store.comparisons()
    assert demonstration.text == "Mine." and [chosen.text for chosen, _ in comparison.pairs()] == ["Mine.", "Mine."]
    assert tab.choices(context, ME)["last"][0]["choice"] == "own"
    assert tab.undo_choice(context, ME | {"op": "own", "id": saved["id"]}) == {"undone": True}
    assert context.store.comparisons() == context.store.demonstrations() == []


def test_undo_takes_back_only_ones_own(context, prompts):
    (pair,) = deal(context, n=1)
    saved = vote(context, pair, "a")
    assert tab.undo_choice(context, {"rater": "ann", "op": "vote", "id": saved["id"]}) == {"undone": False}
    assert tab.undo_choice(context, ME | {"op": "vote", "id": saved["id"]}) == {"undone": True}
    assert context.store.comparisons() == []


def test_skips_are_stored_and_undone(context, prompts):
    (pair,) = deal(context, n=1)
    tab.skip_pair(context, ME | {"prompt_id": pair["prompt_id"], "shown": pair["shown"], "page": "page"})
    assert context.store.skips("you") == [pair["prompt_id"]]
    assert tab.undo_choice(context, ME | {"op": "skip"}) == {"undone": True}
    assert context.store.skips("you") == [] and tab.undo_choice(context, ME | {"op": "skip"}) == {"undone": False}


def test_15_a_choice_changed_elsewhere_is_not_overwritten(context, prompts):
    (pair,) = deal(context, n=1)
    saved = vote(context, pair, "a")
    changed = tab.change_choice(context, ME | {"id": saved["id"], "version": saved["version"], "choice": "b"})
    assert changed["version"] == saved["version"] + 1 and tab.choices(context, ME)["last"][0]["choice"] == "b"
    with pytest.raises(Conflict):
        tab.change_choice(context, ME | {"id": saved["id"], "version": saved["version"], "choice": "tie"})
    with pytest.raises(Refused, match="not changed"):
        tab.change_choice(context, {"rater": "ann", "id": saved["id"], "version": 2, "choice": "tie"})


def stored(context, prompt, chosen, rejected, chosen_left, **more):
    """One comparison with answers of a given length."""
    from workbench.records import Response

    rows = [Response(0, prompt.id, "x" * size, "sandbox") for size in (chosen, rejected)]
    better, worse = (row.id for row in context.store.add_responses(rows))
    shown = (better, worse) if chosen_left else (worse, better)
    more = {"rater": "you"} | more
    context.store.add_comparison(prompt.id, shown, [[better], [worse]], shown, **more)


def test_habits_count_decided_choices_with_their_intervals(context, prompts):
    for n in range(19):
        stored(context, prompts[0], 10 if n < 12 else 5, 5 if n < 12 else 10, chosen_left=n < 6)
    assert tab.choices(context, ME)["habits"] == []  # 19 choices: not yet
    stored(context, prompts[0], 7, 7, chosen_left=True)  # as long as the other: tells nothing about length
    longer, left = tab.choices(context, ME)["habits"]
    assert (longer["n"], longer["value"]) == (19, 12 / 19)
    assert (left["n"], left["value"]) == (20, 7 / 20)
    assert left["low"] == pytest.approx(0.1812, abs=1e-3) and left["high"] == pytest.approx(0.5671, abs=1e-3)


def test_simulated_and_imported_votes_are_not_counted_as_mine(context, prompts):
    stored(context, prompts[0], 3, 2, True)
    stored(context, prompts[0], 3, 2, True, simulated=True, rater="simulated careful")
    stored(context, prompts[0], 3, 2, True, source="import:x.jsonl")
    answer = tab.choices(context, ME)
    assert (answer["mine"], answer["simulated"]) == (1, 1)


def test_a_model_that_cannot_write_is_told_with_its_reason(tmp_path):
    def refuses(prompt, number):
        raise RuntimeError("out of memory")

    context = Scripted(tmp_path, refuses)
    context.store.add_prompts(["Question?"], "person")
    end = time.monotonic() + 10
    answer = {"error": None}
    while not answer["error"] and time.monotonic() < end:
        answer = tab.rank_pairs(context, ME | {"page": "p", "n": 1, "have": []})
        time.sleep(0.02)
    context.close()
    assert answer["error"] == "out of memory" and answer["pairs"] == []


@pytest.mark.parametrize(
    "bad",
    [
        {"shown": None},
        {"shown": [1]},
        {"shown": [1, "2"]},
        {"choice": "left"},
        {"choice": None},
        {"choice": ["a"]},
        {"token": "x"},
        {"prompt_id": None},
    ],
)
def test_odd_votes_are_refused_and_store_nothing(context, prompts, bad):
    (pair,) = deal(context, n=1)
    sent = {"prompt_id": pair["prompt_id"], "shown": pair["shown"], "choice": "a", "token": "t" * 16, "page": "page"}
    with pytest.raises(Refused):
        tab.vote(context, ME | sent | bad)
    assert context.store.comparisons() == []


def test_votes_about_answers_to_another_prompt_are_refused(context, prompts):
    pair, other = deal(context, n=2)
    with pytest.raises(KeyError):
        vote(context, {**pair, "prompt_id": other["prompt_id"]}, "a")
    assert context.store.comparisons() == []


def test_one_prompt_too_long_for_the_model_does_not_stop_the_others(context):
    context.store.add_prompts(["Tell me more. " * 300, "What is 2 + 2?"], "person")
    until(lambda: context.pairs.state()["ready"] or context.pairs.state()["error"])
    asked = ME | {"page": "p" * 12, "have": [], "n": 5}
    first = tab.rank_pairs(context, asked)
    assert first["error"] is None and {pair["prompt"] for pair in first["pairs"]} == {"What is 2 + 2?"}
    assert first["passed"] == (
        "1 prompt is too long and is left out: "
        "“Tell me more. Tell me more. Tell me more…” has 900 tokens; sandbox reads 448."
    )
    context.store.add_prompts(["Tell me less. " * 300], "person")
    context.pairs.clear()
    until(lambda: len(context.pairs.state()["passed"]) == 2)
    assert tab.rank_pairs(context, asked)["passed"].startswith("2 prompts are too long and are left out. “Tell me more")
    for prompt in context.store.prompts():
        if "Tell me" in prompt.text:
            context.store.delete_prompt(prompt.id)
    context.pairs.clear()
    until(lambda: not context.pairs.state()["passed"])


def test_pairs_of_a_deleted_prompt_are_not_dealt(context):
    (prompt,) = context.store.add_prompts(["What is 2 + 2?"], "person")
    until(lambda: context.pairs.state()["ready"])
    context.store.delete_prompt(prompt.id)
    context.pairs.drop(prompt.id)
    assert context.pairs.take("ann") == []


def test_the_same_answer_twice_is_not_put_to_the_vote_and_its_prompt_is_named(context):
    context.store.add_prompts(["Say yes.", "What is 2 + 2?"], "person")
    context._say = lambda prompt, number: "Yes." if prompt == "Say yes." else f"Answer {number}"
    until(lambda: context.pairs.state()["ready"] and context.pairs.state()["identical"])
    asked = ME | {"page": "p" * 12, "have": [], "n": 5}
    answer = tab.rank_pairs(context, asked)
    assert answer["pairs"] and {pair["prompt"] for pair in answer["pairs"]} == {"What is 2 + 2?"}
    assert answer["passed"] == (
        "“Say yes.” is passed over for now: 3 times in a row, the model gave it the same answer twice."
    )
    context.store.add_prompts(["Say yes again, and nothing else than yes."], "person")
    context._say = lambda prompt, number: "Yes." if prompt.startswith("Say") else f"Answer {number}"
    context.pairs.clear()
    until(lambda: len(context.pairs.state()["identical"]) == 2)
    assert tab.rank_pairs(context, asked)["passed"] == (
        "2 prompts are passed over for now, such as “Say yes.”: 3 times in a row, the model gave each the same answer twice."
    )

"""Judging the steps of an answer, without a browser: which answer comes next, what is stored, what is refused."""

import pytest

from tests.pages import Scripted
from workbench.ui import stepwise
from workbench.ui.context import Refused

SUM = "What is 3 plus 4?"


@pytest.fixture
def context(tmp_path):
    page = Scripted(tmp_path, lambda prompt, number: f"3 + 4 = 7. Answer {number}.")
    yield page
    page.close()


def ask(context, have=()):
    return stepwise.steps_next(context, {"rater": "you", "have": list(have)})


def save(context, item, labels, token="token-of-one", rater="you"):
    sent = {"prompt_id": item["prompt_id"], "steps": item["steps"], "labels": labels, "token": token, "seconds": 2.0}
    return stepwise.steps_save(context, sent | {"rater": rater})


def test_the_bundled_model_is_asked_sums_and_word_problems_alone(context):
    context.store.add_prompts(["Why do cats sleep?"], "person")
    assert ask(context)["empty"]
    assert stepwise.steps_more(context, {"rater": "you"}) == {"added": 20}
    item = ask(context)["item"]
    assert item["prompt"] != "Why do cats sleep?" and item["steps"][0] == "3 + 4 = 7."
    assert stepwise.steps_more(context, {"rater": "you"}) == {"added": 20}  # twenty others
    assert context.store.counts()["prompts"] == 41


def test_the_prompt_judged_or_skipped_least_comes_next(context):
    first, second, third = (
        p.id for p in context.store.add_prompts([SUM, "What is 5 plus 2?", "What is 6 plus 2?"], "person")
    )
    item = ask(context)["item"]
    assert item["prompt_id"] == first and ask(context, [first])["item"]["prompt_id"] == second
    save(context, item, [1, 0])
    stepwise.steps_skip(context, {"rater": "you", "prompt_id": second})
    assert ask(context)["item"]["prompt_id"] == third
    assert ask(context, [first, second, third])["item"]  # more are wanted than there are: any will do


def test_an_answer_judged_before_is_asked_for_again(tmp_path):
    answers = iter(["7.", "7.", "", "It is 7."])
    context = Scripted(tmp_path, lambda prompt, number: next(answers))
    (prompt,) = context.store.add_prompts([SUM], "person")
    assert ask(context)["item"]["steps"] == ["7."]
    context.store.add_step_labels(prompt.id, ["7."], [1], "other")
    assert ask(context)["item"]["steps"] == ["It is 7."]
    context.close()


def test_a_judged_answer_is_stored_once_and_undone_by_its_owner_alone(context):
    context.store.add_prompts([SUM], "person")
    item = ask(context)["item"]
    id = save(context, item, [1, 0])["id"]
    assert save(context, item, [1, 0])["id"] == id
    (row,) = context.store.step_labels()
    assert (row.labels, row.rater, row.simulated, row.seconds, row.source) == ((1, 0), "you", False, 2.0, "person")
    state = stepwise.steps_state(context, {"rater": "you"})
    assert (state["mine"], state["all"]) == (1, 1) and state["last"] == [{"id": id, "labels": [1, 0], "item": item}]
    assert stepwise.steps_undo(context, {"rater": "bob", "id": id}) == {"undone": False}
    assert stepwise.steps_undo(context, {"rater": "you", "id": id}) == {"undone": True}
    assert stepwise.steps_state(context, {"rater": "you"})["mine"] == 0


@pytest.mark.parametrize("labels", [[1], [1, 2], [1, None], [1, True]])
def test_labels_that_do_not_match_are_refused_and_nothing_is_stored(context, labels):
    context.store.add_prompts([SUM], "person")
    item = ask(context)["item"]
    with pytest.raises(ValueError, match="label"):
        save(context, item, labels)
    with pytest.raises(Refused, match="nothing as steps"):
        stepwise.steps_save(context, {"rater": "you", "prompt_id": item["prompt_id"], "token": "t" * 8})
    with pytest.raises(Refused, match="text as have"):
        stepwise.steps_next(context, {"rater": "you", "have": "none"})
    assert context.store.step_labels() == []


def test_simulated_labels_are_counted_apart(context):
    (prompt,) = context.store.add_prompts([SUM], "person")
    context.store.add_step_labels(prompt.id, ["7."], [1], "you", simulated=True)
    state = stepwise.steps_state(context, {"rater": "you"})
    assert (state["mine"], state["all"], state["simulated"], state["last"]) == (0, 1, 1, [])

"""What training reads, and which prompt comes next."""

import pytest

from workbench.collect import steps
from workbench.collect.comparisons import preference_rows, ranking_rows, thumb_rows
from workbench.collect.demonstrations import sft_rows
from workbench.collect.prompts import next_to_rank, next_to_write, starter
from workbench.records import Response, split_of
from workbench.store import Store


def rank(store: Store, prompt: str, texts: str, groups: list[str], **options):
    """A ranking of one-letter answers, e.g. groups ["a", "bc"]: a before b and c, which tie."""
    (stored_prompt,) = store.add_prompts([prompt], "person")
    ids = {
        answer.text: answer.id
        for answer in store.add_responses([Response(0, stored_prompt.id, text, "tiny") for text in texts])
    }
    order = [[ids[text] for text in group] for group in groups]
    return store.add_comparison(stored_prompt.id, list(ids.values()), order, list(ids.values()), "ada", **options)


def test_sft_rows(store: Store):
    first, second = store.add_prompts(["q", "r"], "person")
    one = store.add_demonstration(first.id, "one", "ada")
    two = store.add_demonstration(second.id, "two", "robot", simulated=True)
    deleted = store.add_demonstration(second.id, "gone", "ada")
    store.delete_demonstration(deleted.id)
    rows = sft_rows(store)
    assert [(row["prompt"], row["completion"], row["id"], row["simulated"]) for row in rows] == [
        ("q", "one", one.id, False),
        ("r", "two", two.id, True),
    ]
    assert [row["split"] for row in rows] == [split_of("q"), split_of("r")]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (["a", "b"], {"ab": 1.0}),
        (["ab"], {}),
        (["c", "ab"], {"ca": 1 / 2, "cb": 1 / 2}),
        (["b", "a", "c"], {"ba": 1 / 3, "bc": 1 / 3, "ac": 1 / 3}),
        (["d", "c", "b", "a"], dict.fromkeys(("dc", "db", "da", "cb", "ca", "ba"), 1 / 6)),
    ],
)
def test_the_pairs_of_a_ranking_share_one_vote(store: Store, groups: list[str], expected: dict[str, float]):
    comparison = rank(store, "q", "".join(sorted("".join(groups))), groups)
    rows = preference_rows(store)
    assert {row["chosen"] + row["rejected"]: row["weight"] for row in rows} == pytest.approx(expected)
    assert all((row["id"], row["prompt"], row["split"]) == (comparison.id, "q", split_of("q")) for row in rows)
    assert sum(row["weight"] for row in rows) == pytest.approx(1.0 if expected else 0.0)


@pytest.mark.parametrize(
    ("groups", "acceptable", "good", "bad"),
    [
        (["a", "b"], None, "a", "b"),
        (["ab"], None, "", ""),
        (["ab"], 0, "", "ab"),
        (["ab"], 1, "ab", ""),
        (["a", "b", "c"], None, "a", "c"),
        (["d", "c", "ab"], 2, "cd", "ab"),
        (["d", "c", "b", "a"], None, "cd", "ab"),
        (["a"], 1, "a", ""),
        (["a"], 0, "", "a"),
    ],
)
def test_every_judgement_gives_thumbs(store: Store, groups: list[str], acceptable, good: str, bad: str):
    comparison = rank(store, "q", "".join(sorted("".join(groups))), groups, acceptable=acceptable)
    rows = thumb_rows(store)
    for label, texts in ((True, good), (False, bad)):
        assert "".join(sorted(row["completion"] for row in rows if row["label"] is label)) == texts
    assert all((row["id"], row["prompt"], row["split"]) == (comparison.id, "q", split_of("q")) for row in rows)


def test_a_single_answer_is_judged_by_itself_and_is_no_comparison(store: Store):
    with pytest.raises(ValueError, match="two or more"):
        rank(store, "q", "a", ["a"])
    rank(store, "q", "b", ["b"], acceptable=1)
    assert preference_rows(store) == ranking_rows(store) == []
    assert store.counts()["comparisons"] == 0 and len(store.comparisons()) == 1


def test_equal_words_are_no_preference(store: Store):
    (prompt,) = store.add_prompts(["q"], "person")
    ids = [answer.id for answer in store.add_responses([Response(0, prompt.id, text, "m") for text in ("x", "x", "y")])]
    store.add_comparison(prompt.id, ids, [[ids[0]], [ids[1]], [ids[2]]], ids, "ada")
    assert [(row["chosen"], row["rejected"], row["weight"]) for row in preference_rows(store)] == [("x", "y", 0.5)] * 2


def test_undone_and_bad_pairs_teach_nothing(store: Store):
    rank(store, "q", "ab", ["ab"], acceptable=0)
    comparison = rank(store, "q", "cd", ["c", "d"], simulated=True)
    rank(store, "q", "ef", ["e", "f"])
    store.undo("ada")
    assert [(row["id"], row["simulated"]) for row in preference_rows(store)] == [(comparison.id, True)]


def test_next_to_write(store: Store):
    assert next_to_write(store, "ada") is None
    first, second, third = store.add_prompts(["p", "q", "r"], "person")
    store.add_demonstration(first.id, "done", "bob")
    assert next_to_write(store, "ada") == second
    store.skip("ada", second.id, "demonstration")
    store.skip("ada", third.id)  # skipped when comparing, which is another thing
    assert next_to_write(store, "ada") == third and next_to_write(store, "bob") == second
    store.add_demonstration(third.id, "done", "ada")
    assert next_to_write(store, "ada") == second
    store.add_demonstration(second.id, "done", "ada")
    assert next_to_write(store, "ada") is None


def test_a_held_out_prompt_is_never_offered_for_writing(store: Store):
    held, train = store.add_prompts(["Name a bird.", "Name a tree."], "person")
    assert (held.split, train.split) == ("heldout", "train") and next_to_write(store, "ada") == train
    store.skip("ada", train.id, "demonstration")
    assert next_to_write(store, "ada") == train
    store.add_demonstration(train.id, "Oak.", "ada")
    assert next_to_write(store, "ada") is None


def test_next_to_rank(store: Store):
    first, second, third = store.add_prompts(["p", "q", "r"], "person")
    rank(store, "p", "ab", ["a", "b"])
    store.skip("bob", second.id)
    assert [prompt.id for prompt in next_to_rank(store, "ada", 3)] == [third.id, second.id, first.id]
    assert [prompt.id for prompt in next_to_rank(store, "bob", 2)] == [third.id, first.id]
    assert [prompt.id for prompt in next_to_rank(store, None, 9)] == [third.id, first.id, second.id]


def test_starter_prompts_are_there_and_different():
    prompts = starter(30)
    assert len(prompts) == 30 == len(set(prompts)) and all(isinstance(text, str) and text.strip() for text in prompts)


# The steps of an answer


def test_steps_join_to_the_text():
    assert steps.sentences("A b. C!\nD? ...") == ["A b.", " C!", "\nD? ..."]
    assert steps.lines("A b. C!\n\nD?") == ["A b. C!\n", "\nD?"]
    assert steps.sandbox("3 + 4 = 7, so 7.") == ["3 + 4 = 7,", " so 7."]
    assert steps.sentences("") == steps.lines("") == []


def test_answers_are_cut_as_most_of_the_labelled_ones_were():
    by_line, by_sentence = ["A. B.", "\nC."], ["A.", " B."]
    assert steps.split_of_rows([by_line, by_line, by_sentence]) == ("lines", 2)
    assert steps.split_of_rows([by_line, by_sentence, by_sentence]) == ("sentences", 2)
    assert steps.split_of_rows([["A.", "\nB."]], "lines")[0] == "lines"  # both cut it so: the first stays
    assert steps.split_of_rows([["A. B."], ["C.\nD."]]) == ("whole", 2)  # labels of whole answers
    assert steps.split_for("sandbox") == "sandbox" and steps.split_for("other") == "sentences"


def test_step_rows_say_split_rater_and_whether_simulated(store: Store):
    prompt, other = store.add_prompts(["q", "Which sea is it?"], "person")
    one = store.add_step_labels(prompt.id, ["a", " b"], [1, -1], "ada")
    two = store.add_step_labels(other.id, ["c"], [0], "rule", simulated=True)
    assert steps.step_rows(store) == [
        {"prompt": "q", "steps": ["a", " b"], "labels": [1, -1], "split": split_of("q"), "id": one.id, "rater": "ada",
         "simulated": False},
        {"prompt": other.text, "steps": ["c"], "labels": [0], "split": split_of(other.text), "id": two.id,
         "rater": "rule", "simulated": True},
    ]  # fmt: skip

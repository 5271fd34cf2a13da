"""Steps of worked answers, labelled by hand."""

import pytest

from workbench.sandbox.steps import concluded, is_right, label_steps, split_steps

GIVES = "Tom has 5 apples, finds 3 and gives away 2. How many apples are left?"
MORE = "Tom has 5 apples and buys 3 more. How many apples does Tom have?"
SUM = "What is 23 + 34?"


@pytest.mark.parametrize(
    "prompt, answer, labels",
    [
        (GIVES, "5 + 3 = 8 and 8 - 2 = 6, so 6 apples are left.", [1, 1, 1]),
        (GIVES, "3 + 5 = 8 and 8 - 2 = 6, so 6 apples are left.", [1, 1, 1]),
        (GIVES, "5 + 3 = 8 and 8 - 2 = 5, so 5 apples are left.", [1, -1, -1]),
        (GIVES, "Tom has 5 apples. 5 + 3 = 8, 8 - 2 = 6.", [0, 1, 1]),  # what the question gave says nothing
        (GIVES, "5 + 3 = 9 and 9 - 2 = 7, so 7 apples are left.", [-1, -1, -1]),
        (GIVES, "5 + 3 = 7 and 8 - 2 = 6, so 6 apples are left.", [-1, 1, 1]),  # right in the end, wrong on the way
        (MORE, "Sure. 5 + 3 = 8, so Tom has 8 apples.", [0, 1, 1]),
        (MORE, "5 + 4 = 9, so Tom has 9 apples.", [-1, -1]),  # true, but not what was asked
        (MORE, "8.", [1]),
        (MORE, "9.", [-1]),
        (MORE, "5 + 3 = 8, so Tom has 8 apples. What is 4 + 4?", [1, 1, 0]),
        (SUM, "20 + 30 = 50, 3 + 4 = 7, 50 + 7 = 57, so 23 + 34 = 57.", [1, 1, 1, 1]),
        (SUM, "20 + 30 = 50, 3 + 4 = 8, 50 + 8 = 58, so 23 + 34 = 58.", [1, -1, -1, -1]),
        (SUM, "Ugh, what a silly question.", [0]),
    ],
)
def test_labels_by_hand(prompt, answer, labels):
    assert "".join(split_steps(answer)) == answer
    assert label_steps(prompt, answer) == labels


def test_only_sums_and_word_problems_have_steps_to_check():
    assert label_steps("What is the capital of France?", "Paris.") is None
    assert label_steps("hello there, stranger", "4") is None


def test_what_an_answer_comes_to():
    assert concluded("5 + 3 = 8, so Tom has 8 apples. What is 4 + 4?") == "8"
    assert concluded("I cannot answer that.") is None
    assert is_right(MORE, "That is 8.") and not is_right(MORE, "That is 9.") and not is_right(MORE, "")


@pytest.mark.parametrize("text", ["", ".", "\n\n", "a\nb", " so ", "1.5 + 2", "wait... what?! so"])
def test_steps_always_join_to_the_answer(text):
    assert "".join(split_steps(text)) == text

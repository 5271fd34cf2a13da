"""Score in a real browser: the score follows what is typed, a press spoils the answer and tells by how much."""

from __future__ import annotations

import shutil

import pytest

from tests import reward_runs
from tests.browser.app import App
from workbench import settings

EVIL = "<img src=x onerror=\"console.error('ran')\">"


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """An app over a workspace with one reward model (random weights on the bundled model)."""
    workspace = tmp_path_factory.mktemp("score") / "workspace"
    reward_runs.weights(reward_runs.folder(workspace, 1, "amber"), settings.SANDBOX)
    server = App(workspace).start()
    yield server
    server.stop()


def score(open_page, app, **more):
    page = open_page(f"{app.url}#score", **more)
    page.set_default_timeout(120_000)
    page.wait_for_selector(".wb-score-figure:not(:text('–'))")
    return page


def figure(page) -> str:
    return page.locator(".wb-score-figure").inner_text()


def written(page, text):
    """Type it, and wait until it is what the score is of."""
    page.get_by_label("Answer", exact=True).fill(text)
    page.wait_for_function("text => document.querySelector('.wb-tokens').textContent === text", arg=text)
    return figure(page)


def test_an_empty_workspace_says_what_to_do_and_leads_there(app, open_page, no_faults):
    page = open_page(f"{app.url}#score")
    page.wait_for_selector("text=No reward model yet. It learns from your choices to score any answer.")
    no_faults(page)
    page.get_by_role("button", name="Train a reward model").click()
    page.wait_for_selector("#wb-tab-train-button[aria-selected=true]")
    page.wait_for_selector(".wb-method input[value=reward]:checked")


def test_the_score_follows_what_is_typed_and_nothing_of_it_runs(scored, open_page):
    page = score(open_page, scored)
    first = written(page, "The capital of France is Paris.")
    assert page.locator(".wb-token").count() > 5
    page.wait_for_selector(".wb-score .main-svg")
    assert written(page, f"No! {EVIL}") != first
    assert page.locator(".wb-score img").count() == 0
    page.get_by_label("Answer", exact=True).press_sequentially(" and so on, and so on", delay=15)
    page.wait_for_function("document.querySelector('.wb-tokens').textContent.endsWith(' and so on, and so on')")


def test_presses_by_keyboard_spoil_the_answer_tell_the_change_and_can_be_undone(scored, open_page):
    page = score(open_page, scored)
    plain = "It is Paris. It lies on the Seine."
    was = written(page, plain)
    field, undo = page.get_by_label("Answer", exact=True), page.get_by_role("button", name="Undo")
    assert undo.is_disabled()
    field.focus()
    page.keyboard.press("Tab")
    for n, name in enumerate(("Add filler", "Flatter", "Repeat", "Add bullets"), 1):
        page.keyboard.press("Enter")
        page.wait_for_function("n => document.querySelectorAll('.wb-changes li').length === n", arg=n)
        assert page.locator(".wb-change-name").first.inner_text() == name
        page.wait_for_function(
            "document.querySelector('.wb-tokens').textContent === document.querySelector('#wb-score-answer').value"
        )
        page.keyboard.press("Tab")
    assert "There is so much more to say" in field.input_value() and field.input_value().startswith("- ")
    assert undo.evaluate("node => node === document.activeElement")
    for _ in range(4):
        undo.click()
    assert field.input_value() == plain and page.locator(".wb-changes li").count() == 0
    page.wait_for_function("text => document.querySelector('.wb-tokens').textContent === text", arg=plain)
    assert figure(page) == was and undo.is_disabled()


def test_a_text_too_long_is_told_and_a_shorter_one_scores_again(scored, open_page):
    page = score(open_page, scored)
    page.get_by_label("Answer", exact=True).fill("one two three " * 400)
    page.wait_for_selector("text=sandbox reads 512. Shorten one of them.")
    assert figure(page) == "–"
    written(page, "one two three")
    assert page.locator(".wb-score-result .wb-bad").inner_text() == ""


def test_a_process_reward_judges_each_step_on_a_line_of_its_own(scored, open_page, no_faults):
    workspace = scored.workspace
    folder = reward_runs.folder(workspace, 2, "amber", method="prm")
    reward_runs.step_weights(folder, settings.SANDBOX)
    try:
        page = score(open_page, scored, width=390)
        page.get_by_label("Answer", exact=True).fill("2 + 2 = 4. So it is 4.")
        page.wait_for_function("document.querySelectorAll('.wb-judged').length === 2")
        assert page.get_by_label("Prompt", exact=True).input_value() == "What is 2 + 2?"
        assert page.locator(".wb-judged .wb-token").all_inner_texts() == ["2 + 2 = 4.", "So it is 4."]
        assert figure(page).endswith(" %") and page.locator(".wb-score .main-svg").count() == 0
        page.get_by_role("button", name="Repeat").click()
        page.wait_for_selector(".wb-change-by:has-text('points')")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        no_faults(page)
        page.get_by_label("Reward model").select_option("1")
        page.wait_for_selector(".wb-score .main-svg")
        assert page.get_by_label("Prompt", exact=True).input_value() != "What is 2 + 2?"
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, True)])
def test_axe_finds_nothing_serious_and_nothing_is_too_wide(scored, open_page, no_faults, width, dark):
    page = score(open_page, scored, width=width, dark=dark)
    written(page, "It is Paris. It lies on the Seine.")
    page.get_by_role("button", name="Flatter").click()
    page.wait_for_selector(".wb-changes li")
    page.wait_for_selector(".wb-score .main-svg")
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    no_faults(page)

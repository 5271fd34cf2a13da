"""Compare in a real browser: ask, stream, vote blind by key, see who wrote what, turn the dial, measure."""

from __future__ import annotations

import pytest

from tests import reward_runs
from tests.browser.app import App
from workbench import settings
from workbench.jobs import prepare
from workbench.learn.catalogue import parse
from workbench.processes import write_status
from workbench.store import Store


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """An app over a workspace with a finished SFT run and a reward model (random adapters on the bundled model)."""
    from tests import tiny_model

    workspace = tmp_path_factory.mktemp("compare") / "workspace"
    workspace.mkdir()
    workspace_settings = settings.load(workspace)
    with Store(workspace_settings.database) as store:
        for prompt in store.add_prompts([f"What is {i} plus {i}?" for i in range(20)], "person"):
            store.add_demonstration(prompt.id, "An answer.", "me")
        run = prepare.prepare_run(workspace_settings, store, "sft", parse("sft", {}))
    tiny_model.adapter(settings.SANDBOX, run.folder / "adapter", seed=1)
    write_status(run.folder, state="done", seconds=7, step=40, message="Done in 7 s. See what changed.")
    reward_runs.weights(reward_runs.folder(workspace, 2, "green"), settings.SANDBOX)
    app = App(workspace).start()
    yield app
    app.stop()


def compare(open_page, app, **more):
    page = open_page(f"{app.url}#compare", **more)
    page.set_default_timeout(180_000)
    page.wait_for_selector(".wb-ask")
    return page


def ask(page, prompt=None):
    if prompt is not None:
        page.get_by_label("Prompt", exact=True).fill(prompt)
    page.locator(".wb-ask").click()
    page.wait_for_selector(".wb-vote-main:not([disabled])")


def test_an_empty_workspace_leads_to_train(app, open_page):
    page = open_page(f"{app.url}#compare")
    page.wait_for_selector("text=Nothing to compare yet. Train a model first.")
    page.locator(".wb-empty").get_by_role("button", name="Train").click()
    page.wait_for_selector("#wb-tab-train-button[aria-selected=true]")


def test_blind_until_the_vote_by_keyboard_alone(compared, open_page):
    page = compare(open_page, compared)
    first = page.get_by_label("Prompt", exact=True).input_value()
    ask(page)
    cards = page.locator(".wb-answers-grid")
    assert page.locator(".wb-answer .wb-label").all_inner_texts() == ["Answer A", "Answer B"]
    assert "SFT" not in cards.inner_text() and "Base" not in cards.inner_text()
    assert page.locator(".wb-answers-grid ins, .wb-answers-grid del, .wb-known").count() == 0
    assert "reward" not in cards.inner_text()
    page.keyboard.press("2")
    page.wait_for_selector("text=✓ Saved.")
    page.wait_for_function(
        "[...document.querySelectorAll('.wb-figures')].every(f => /reward −?\\d+\\.\\d\\d, run 2/.test(f.textContent))"
    )
    assert sorted(page.locator(".wb-who").all_inner_texts()) == ["Base", "SFT, run 1"]
    assert "tokens" in cards.inner_text() and "KL" in cards.inner_text() and "gold" in cards.inner_text()
    assert "You preferred answer B: " in page.locator(".wb-act").inner_text()
    page.wait_for_selector("text=1 vote. The win rate appears at 10.")
    page.keyboard.press("u")
    page.wait_for_selector("text=0 votes. The win rate appears at 10.")
    page.wait_for_selector(".wb-vote-main:not([disabled])")
    page.keyboard.press("0")
    page.wait_for_selector("text=You found them equally good.")
    page.keyboard.press("n")
    page.wait_for_selector(".wb-vote-main:not([disabled])")
    assert page.get_by_label("Prompt", exact=True).input_value() != first
    page.get_by_label("Prompt", exact=True).click()
    page.keyboard.type("12b")  # keys are words while one types
    assert page.locator(".wb-vote-main").count() == 2


def test_the_dial_at_zero_is_the_base_and_the_answers_follow_it(compared, open_page):
    page = compare(open_page, compared)
    page.get_by_label("Blind until I vote").uncheck()
    page.locator(".wb-ask").click()
    page.wait_for_selector(".wb-known")
    texts = page.locator(".wb-answer-words")
    page.get_by_label("Strength").fill("0")
    same = "() => { const w = [...document.querySelectorAll('.wb-answer.wb-known .wb-answer-words')]; return w.length === 2 && w[0].textContent && w[0].textContent === w[1].textContent; }"
    page.wait_for_function(same)
    assert page.locator(".wb-dial-value").inner_text() == "0.00"
    page.get_by_label("Strength").fill("1.5")
    page.wait_for_selector("text=SFT, run 1 at 1.50")
    assert texts.count() == 2


def test_a_typed_prompt_is_shown_inert_and_said_to_be_no_held_out_one(compared, open_page):
    page = compare(open_page, compared)
    evil = "<img src=x onerror=\"console.error('ran')\"> What is 3 plus 3?"
    ask(page, evil)
    assert page.locator(".wb-compare img").count() == 0
    assert "held-out" in page.locator(".wb-where").inner_text()


def test_measuring_draws_three_plots_with_what_to_make_of_them(compared, open_page):
    page = compare(open_page, compared)
    page.get_by_role("button", name="Measure on 100 held-out prompts").click()
    page.wait_for_selector("text=100 held-out prompts, one answer each at temperature 0.8")
    page.wait_for_function("document.querySelectorAll('.wb-measured .main-svg').length >= 3")
    assert page.locator(".wb-measured .wb-chart-title").all_inner_texts() == [
        "Gold score",
        "Length",
        "KL from the base",
    ]
    assert "By gold score, SFT, run 1 wins" in page.locator(".wb-gold-words").inner_text()


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_everything_fits(compared, open_page, dark):
    page = compare(open_page, compared, width=390, height=844, dark=dark)
    ask(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    a, b = (page.locator(f"[data-choice='{i}']").bounding_box() for i in (0, 1))
    assert a["y"] == b["y"] and a["height"] >= 48


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_axe_finds_nothing_serious_before_and_after_the_vote(compared, open_page, no_faults, width, dark):
    page = compare(open_page, compared, width=width, height=844, dark=dark)
    ask(page)
    page.locator(".wb-picker-head").click()
    no_faults(page)
    page.locator(".wb-picker-head").click()
    page.locator("[data-choice='1']").click()
    page.wait_for_selector("text=✓ Saved.")
    no_faults(page)

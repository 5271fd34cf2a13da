"""Judging steps in a real browser: by key and by click, undone, kept over a reload, and trained on."""

import json

import pytest

from tests import reward_runs
from workbench.store import Store


@pytest.fixture
def page(app, open_page):
    return arrive(open_page(f"{app.url}#rank"))


def arrive(page):
    page.get_by_role("radio", name="Step by step").click()
    page.wait_for_selector(".ws-board .wb-empty, .ws-step")
    if page.locator(".ws-board .wb-empty").count():
        page.get_by_role("button", name="Write answers").click()
    page.wait_for_selector(".ws-step")
    return page


def stored(app):
    with Store(app.workspace / "workbench.db") as store:
        return store.step_labels()


def texts(page):
    return page.locator(".ws-text").all_inner_texts()


def saved(page, app, n):
    page.wait_for_function("n => document.querySelector('.ws-done').textContent.startsWith(`${n} `)", arg=n)
    return stored(app)


def test_by_keyboard_alone_and_undone(app, page):
    before = len(stored(app))
    shown, prompt = texts(page), page.locator(".ws-board .wb-prompt").inner_text()
    assert page.locator(".ws-save").is_disabled()
    for key in "-0+="[: len(shown)] if len(shown) < 5 else "-0+=" + "+" * (len(shown) - 4):
        page.keyboard.press(key)
    page.keyboard.press("Enter")  # the switch still has the focus
    row = saved(page, app, before + 1)[-1]
    assert row.prompt == prompt and [s.strip() for s in row.steps] == shown
    assert list(row.labels) == ([-1, 0, 1] + [1] * len(shown))[: len(shown)]
    assert row.rater == "you" and not row.simulated and row.seconds is not None
    page.wait_for_selector(".ws-step")
    page.keyboard.press("u")
    page.wait_for_selector("text=Undone. This answer is back.")
    assert texts(page) == shown and page.locator(".ws-save").is_enabled()
    assert len(saved(page, app, before)) == before


def test_by_click_and_an_answer_half_judged_survives_a_reload(app, page):
    before = len(stored(app))
    page.wait_for_function("document.querySelectorAll('.ws-step').length > 0")
    while len(texts(page)) < 2:
        was = texts(page)
        page.keyboard.press("s")
        page.wait_for_function(
            "was => [...document.querySelectorAll('.ws-text')].map((e) => e.innerText).join() !== was",
            arg=",".join(was),
        )
    shown = texts(page)
    page.locator(".ws-step").nth(1).get_by_text("Wrong").click()
    next_open = 2 if len(shown) > 2 else 0
    assert page.locator(".ws-step").nth(next_open).get_attribute("aria-current") == "step"
    page.reload()
    page.wait_for_selector(".wb-steps li", state="attached")
    arrive(page)
    assert texts(page) == shown
    assert page.locator(".ws-step").nth(1).get_by_role("radio", name="Wrong").is_checked()
    for step in page.locator(".ws-step").all():
        step.get_by_text("Neutral").click()
    page.get_by_role("button", name="Save and next").click()
    assert set(saved(page, app, before + 1)[-1].labels) == {0}


def test_its_keys_are_off_among_pairs_and_theirs_here(app, page):
    before = len(stored(app))
    page.keyboard.press("1")
    page.keyboard.press("b")
    assert page.locator(".ws-step :checked").count() == 0 and not page.locator(".wb-rank").is_visible()
    page.get_by_role("radio", name="Two answers").click()
    page.keyboard.press("-")
    page.keyboard.press("Enter")
    assert page.locator(".wb-rank").is_visible() and not page.locator(".ws-board").is_visible()
    page.get_by_role("radio", name="Two answers").press("ArrowRight")
    page.wait_for_selector(".ws-step")
    assert page.locator(".ws-step :checked").count() == 0 and len(stored(app)) == before
    with Store(app.workspace / "workbench.db") as store:
        assert store.comparisons() == []


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_fits_and_has_no_faults(app, open_page, no_faults, width, dark):
    page = arrive(open_page(f"{app.url}#rank", width=width, height=844, dark=dark))
    page.keyboard.press("-")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if width < 640:
        sizes = [box.bounding_box()["height"] for box in page.locator(".ws-choice:visible").all()]
        assert min(sizes) >= 48
    no_faults(page)


def test_simulated_labels_by_one_click_are_named_and_can_be_trained_on(own_app, open_page):
    page = open_page(f"{own_app.url}#train")
    page.get_by_text("Process reward model", exact=True).click()
    page.get_by_text("There are none yet").first.wait_for()
    page.get_by_role("button", name="Add simulated labels").click()
    page.get_by_text("from simulated raters").wait_for()
    assert all(row.simulated for row in stored(own_app)) and len(stored(own_app)) > 1000
    page.locator("#wb-tab-rank-button").click()
    page.get_by_role("radio", name="Step by step").click()
    page.get_by_text("with simulated labels in this workspace, not counted here").wait_for()
    assert page.locator(".ws-done").inner_text() == "0 answers judged"
    page.get_by_role("button", name="Train a process reward model").click()
    page.wait_for_selector("input[name=wb-method][value=prm]:checked", state="attached")


def test_train_leads_to_where_steps_are_judged(own_app, open_page):
    page = open_page(f"{own_app.url}#train")
    page.get_by_text("Process reward model", exact=True).click()
    page.get_by_role("button", name="Label some").click()
    page.get_by_text("No answers to judge yet").wait_for()


def test_a_finished_run_shows_best_of_n_over_n(own_app, open_page, no_faults):
    folder = reward_runs.folder(own_app.workspace, 1, "green")
    folder = folder.rename(folder.with_name("0001-prm"))
    config = json.loads((folder / "config.json").read_text()) | {"method": "prm"}
    (folder / "config.json").write_text(json.dumps(config))
    best_of_n = {"n": 100, "ns": [1, 2, 4], "reward": [[0.8, 0.7, 0.9]] * 2 + [[0.9, 0.85, 0.95]], "majority": [[0.8, 0.7, 0.9]] * 3,
             "one": [0.8, 0.7, 0.9], "difference": [0.1, 0.02, 0.2], "clear": True}  # fmt: skip
    (folder / "result.json").write_text(json.dumps({"steps": 80, "seconds": 5, "best_of_n": best_of_n}))
    page = open_page(f"{own_app.url}#train")
    chart = page.locator("[data-curve=best_of_n]")
    chart.locator(".main-svg").first.wait_for()
    assert "minus the majority vote, +10 points (+2 to +20), clear." in chart.inner_text()
    chart.get_by_text("Show as table").click()
    chart.locator("tbody tr").first.wait_for()
    cells = chart.locator("tbody tr").last.locator("td, th").all_inner_texts()
    assert cells[0] == "4" and "90" in cells[1] and "80" in cells[2] and "80" in cells[3]
    no_faults(page)

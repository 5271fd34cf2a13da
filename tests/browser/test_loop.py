"""The whole loop as a person walks it: write, rank, train, watch, leave, come back, compare. And the app is killed on the way."""

import time

import pytest

from workbench.jobs.runs import find_run, list_runs
from workbench.store import Store

RANK_READY = "document.querySelector('.wr-prompt')?.textContent && !document.querySelector('.wr-choice').disabled"
POINTS = "[...document.querySelectorAll('.wb-run .js-plotly-plot')].flatMap(p => p.data).reduce((n, t) => Math.max(n, t.x.length), 0)"


def write_one(page) -> None:
    page.get_by_role("button", name="Start with 30 sample prompts").click()
    page.wait_for_selector("#wd-field")
    page.wait_for_function("document.activeElement.id === 'wd-field'")
    page.keyboard.type("That is a good question, and here is a short, kind answer.")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.querySelector('#wd-status').textContent.includes('✓ Saved')")


def open_rank(page) -> None:
    """Rank with a pair that can be voted on."""
    page.get_by_role("tab", name="Rank").click()
    page.wait_for_selector(".wr-instead .wb-empty, .wr-prompt:not([hidden])")
    if page.locator(".wr-instead .wb-empty").count():
        page.get_by_role("button", name="Write answers").click()
    page.wait_for_function(RANK_READY)


def rank_ten(page) -> None:
    open_rank(page)
    for key in ("1", "2", "ArrowLeft", "ArrowRight", "0", "b", "1", "2", "1", "2"):
        page.wait_for_function(RANK_READY)
        page.keyboard.press(key)
    page.wait_for_function("document.querySelector('.wr-count').textContent.startsWith('10 ')")
    page.wait_for_function("document.querySelector('.wr-state').textContent === '✓ Saved'")


def start_sft(page) -> None:
    page.get_by_role("tab", name="Train").click()
    page.locator(".wb-method", has_text="SFT").click()
    page.locator(".wb-preset", has_text="Thorough").click()
    page.locator(".wb-start:not([disabled])").click()
    page.wait_for_function(f"{POINTS} > 0")


@pytest.mark.timeout(600)
def test_write_rank_train_leave_return_compare(own_app, open_page):
    page = open_page(own_app.url)
    write_one(page)
    rank_ten(page)
    start_sft(page)
    first = page.evaluate(POINTS)
    page.wait_for_function(f"{POINTS} > {first}")  # the curve grows
    page.close()

    page = open_page(f"{own_app.url}#train")
    page.wait_for_function(f"{POINTS} > {first}")  # the run is found again, with all it had and more
    page.wait_for_selector(".wb-run >> text=Done in", timeout=180_000)
    [run] = list_runs(own_app.workspace)
    assert run.method == "sft" and run.state == "done"
    with Store(own_app.workspace / "workbench.db") as store:
        assert (store.counts()["demonstrations"], store.counts()["comparisons"]) == (1, 10)

    page.locator(".wb-run").get_by_role("button", name="Compare").first.click()
    page.wait_for_selector("#wb-tab-compare-button[aria-selected=true]")
    page.locator(".wb-ask:not([disabled])").click()
    page.wait_for_selector(".wb-vote-main:not([disabled])")
    assert "SFT" not in page.locator(".wb-answers-grid").inner_text()  # blind until the vote
    page.keyboard.press("1")
    page.wait_for_function("document.querySelector('.wb-answers-grid').innerText.includes('SFT')")
    page.wait_for_selector("text=You preferred answer A")
    with Store(own_app.workspace / "workbench.db") as store:
        [verdict] = store.verdicts()
        assert verdict.choice == verdict.shown[0] and not verdict.simulated


@pytest.mark.timeout(600)
def test_a_kill_of_the_app_while_it_trains_loses_nothing(own_app, open_page):
    page = open_page(own_app.url)
    write_one(page)
    start_sft(page)
    own_app.kill()
    [run] = list_runs(own_app.workspace)
    step = run.status["step"]
    assert run.active
    deadline = time.monotonic() + 60
    while find_run(own_app.workspace, run.number).status["step"] <= step and time.monotonic() < deadline:
        time.sleep(0.1)
    assert find_run(own_app.workspace, run.number).status["step"] > step  # it trains on without the app
    page.seen.allowed += ["Failed to load resource", "net::ERR_"]

    own_app.start()
    again = open_page(f"{own_app.url}#train")
    again.wait_for_function(f"{POINTS} > 0")
    again.wait_for_selector(".wb-run >> text=Done in", timeout=180_000)
    with Store(own_app.workspace / "workbench.db") as store:
        assert store.counts()["demonstrations"] == 1

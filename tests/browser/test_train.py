"""Train in a real browser: a real run from the click to Compare, closed and opened again, killed app and all."""

from __future__ import annotations

import json
import re

import pytest

from tests import reward_runs
from tests.browser.app import App
from tests.browser.conftest import OFFLINE
from workbench import settings
from workbench.jobs import control, prepare
from workbench.jobs.runs import find_run, list_runs
from workbench.learn.catalogue import parse
from workbench.processes import write_status
from workbench.records import Response
from workbench.store import Store

EVIL = "<img src=x onerror=\"console.error('ran')\"><script>console.error('ran')</script>"


def fill(workspace, n=40):
    """A workspace with n written answers and n ranked pairs."""
    workspace.mkdir(parents=True, exist_ok=True)
    with Store(workspace / "workbench.db") as store:
        for i, prompt in enumerate(store.add_prompts([f"What is {i} plus {i}?" for i in range(n)], "person")):
            store.add_demonstration(prompt.id, f"It is {2 * i}.", "me")
            good, bad = store.add_responses([Response(0, prompt.id, text, "sandbox") for text in (f"{2 * i}.", "no!")])
            store.add_comparison(prompt.id, [good, bad], [[good.id], [bad.id]], [good.id, bad.id], "me")


def past(workspace, method, state, **values):
    """A run folder as a job would have left it, without the job."""
    workspace_settings = settings.load(workspace)
    with Store(workspace / "workbench.db") as store:
        run = prepare.prepare_run(workspace_settings, store, method, parse(method, values, "quick"))
    rows = [{"step": s, "loss": 0.7 - s / 100} for s in range(20) if s != 7] + [{"step": 7, "rejected": True}]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = [{"step": s, "prompt": EVIL, "answer": f"{s} {EVIL}"} for s in (0, 5, 10, 15)]
    (run.folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
    (run.folder / "log.txt").write_text(f"line one\n{EVIL}\n")
    text = {"failed": f"Run {run.number} stopped: out of memory at step 19. Nothing before it is lost. Try Quick.",
            "interrupted": f"Run {run.number} was interrupted at step 19.", "done": "Done in 7 s. See what changed."}[state]  # fmt: skip
    write_status(run.folder, state=state, step=19, message=text, seconds=7)


@pytest.fixture(scope="module")
def looked_back(tmp_path_factory):
    """An app over a workspace in which runs have ended in several ways."""
    workspace = tmp_path_factory.mktemp("train") / "workspace"
    fill(workspace)
    past(workspace, "sft", "done")
    past(workspace, "sft", "interrupted", seed=1, learning_rate=0.001)
    past(workspace, "dpo", "failed")
    server = App(workspace).start()
    yield server
    server.stop()


def train(open_page, app, **more):
    page = open_page(f"{app.url}#train", **more)
    page.set_default_timeout(180_000)
    page.wait_for_selector(".wb-setup .wb-start")
    page.wait_for_selector(".wb-facts dd")
    return page


def test_an_empty_workspace_says_what_to_do_next(app, open_page):
    page = train(open_page, app)
    assert page.get_by_text("No runs yet. SFT on your answers is a good first one, about 10 s.").is_visible()
    page.get_by_role("radio", name=re.compile("^DPO")).check()
    page.wait_for_selector("text=DPO needs ranked pairs. There are none yet.")
    assert page.locator(".wb-start").is_disabled()
    page.get_by_role("button", name="Rank some").click()
    page.wait_for_selector("#wb-tab-rank-button[aria-selected=true]")


def test_start_waits_for_the_plan_and_says_why_it_failed(looked_back, open_page, held):
    page = train(open_page, looked_back)
    with held(page, "plan"):
        page.wait_for_selector(".wb-start")
        assert page.locator(".wb-start").is_disabled()  # a click now would be lost
    page.wait_for_selector(".wb-start:not([disabled])")
    page.route("**/component_server/**", lambda r: r.abort() if '"wb_start"' in r.request.post_data else r.continue_())
    page.seen.allowed += OFFLINE
    with page.expect_response(lambda r: '"wb_plan"' in (r.request.post_data or "")):  # asked anew after the failure
        page.locator(".wb-start").click()
    page.wait_for_selector(".wb-problem >> text=No connection to the workbench")
    page.wait_for_selector(".wb-start:not([disabled])")
    assert "No connection" in page.locator(".wb-problem").inner_text()


def test_looking_back_shows_each_run_and_nothing_of_a_models_words_runs(looked_back, open_page):
    page = train(open_page, looked_back)
    page.wait_for_selector("text=Run 3 stopped: out of memory at step 19. Nothing before it is lost.")
    page.wait_for_function(
        "document.querySelector('.wb-log').textContent.includes('line one')"
    )  # a failed run's log is open
    assert page.locator(".wb-run-buttons button").all_inner_texts() == ["Show log", "Try again"]
    page.wait_for_selector("[data-curve=loss] .main-svg")
    assert page.get_by_text("Step 7 gave no valid number and was skipped.").is_visible()
    assert page.locator(".wb-answers li").count() == 3
    assert page.locator(".wb-answers .wb-words").last.inner_text() == f"15 {EVIL}"
    assert page.locator(".wb-train img, .wb-train script").count() == 0
    page.get_by_role("button", name="Show run 2").click()
    page.wait_for_selector("text=Run 2 was interrupted at step 19.")


def test_two_runs_side_by_side_show_only_what_differs(looked_back, open_page):
    page = train(open_page, looked_back)
    for number in (1, 2):
        page.get_by_label(f"Side by side: run {number}", exact=True).check()
    page.wait_for_selector("text=Run 1 and run 2: differences")
    names = page.locator(".wb-difference-table tbody th").all_inner_texts()
    assert {"learning rate", "seed", "state"} <= set(names) and "batch size" not in names
    page.wait_for_selector(".wb-differences [data-curve=loss] .main-svg")
    assert "run 1" in page.locator(".wb-differences .wb-chart-plot").first.get_attribute("aria-label")


def test_a_wrong_setting_is_named_beside_its_field_and_the_command_follows(looked_back, open_page):
    page = train(open_page, looked_back)
    page.get_by_role("button", name="All settings").click()
    field = page.get_by_label("Learning rate", exact=True)
    field.fill("5")
    page.wait_for_selector("[data-error=learning_rate]:has-text('Must be at most 1.')")
    assert field.get_attribute("aria-invalid") == "true" and page.locator(".wb-start").is_disabled()
    field.fill("0.0005")
    page.get_by_role("button", name="Show command").click()
    page.wait_for_selector("code:has-text('--set=learning_rate=0.0005')")


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_everything_fits(looked_back, open_page, dark):
    page = train(open_page, looked_back, width=390, height=844, dark=dark)
    page.wait_for_selector("[data-curve=loss] .main-svg")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("[data-curve=loss] .main-svg").first.bounding_box()["height"] == 220
    assert not page.locator(".wb-runs").evaluate("node => node.open")  # history folds


def test_5_6_7_a_real_run_from_the_click_to_compare(tmp_path, open_page):
    """Two clicks make one run; page closed, app killed: the run goes on, is found again, and leads to Compare."""
    workspace = tmp_path / "workspace"
    fill(workspace)
    app = App(workspace).start()
    try:
        page = train(open_page, app)
        page.get_by_role("button", name="All settings").click()
        small = {"steps": 30, "batch_size": 4, "live_prompts": 4, "final_prompts": 8, "max_new_tokens": 16}
        for name, value in small.items():
            page.locator(f"#wb-set-{name}").fill(str(value))
        page.wait_for_selector("text=30 steps")
        page.locator(".wb-start").dblclick()
        page.wait_for_selector("text=Run 1: SFT on 40 answers")
        grown = "n => (document.querySelector('[data-curve=loss] .wb-chart-plot')?.data?.[1]?.x.length || 0) >= n"
        page.wait_for_function(grown, arg=1)
        seen = page.evaluate("document.querySelector('[data-curve=loss] .wb-chart-plot').data[1].x.length")
        page.wait_for_function(grown, arg=min(30, seen + 2))  # the curve grows
        page.seen.allowed += ["Failed to load resource", "net::ERR_", "EventSource", "Could not"]
        page.goto("about:blank")  # the page is closed, and the app dies as in a power cut
        app.kill()
        app.start()
        page = train(open_page, app)
        page.wait_for_selector(".wb-run >> text=Done in")
        assert len(list_runs(workspace)) == 1
        run = find_run(workspace, 1)
        assert run.state == "done" and run.status["step"] == 30
        page.locator(".wb-run-buttons").get_by_role("button", name="Compare").click()
        page.wait_for_selector("#wb-tab-compare-button[aria-selected=true]")
        page.wait_for_selector(".wb-picker-head")
        assert page.locator(".wb-picked").all_inner_texts() == ["Base,", "SFT, run 1"]
        page.goto("about:blank")  # before the app ends, so that nothing asks for it in vain
    finally:
        for run in list_runs(workspace):
            control.stop(settings.load(workspace), run)
        app.stop()


def test_without_a_reward_model_the_sandboxs_own_score_can_be_chosen(looked_back, open_page):
    page = train(open_page, looked_back)
    page.get_by_role("radio", name=re.compile("^PPO")).check()
    page.wait_for_selector("text=There is none yet; train one first.")
    assert page.locator(".wb-start").is_disabled()
    pick = page.get_by_label("Reward", exact=True)
    assert pick.locator("option").all_inner_texts()[0] == "no reward model yet"
    pick.select_option("gold")
    page.wait_for_selector(".wb-start:not([disabled])")
    assert "no reward model yet" not in pick.inner_text()


def test_a_red_reward_model_is_shown_and_needs_a_click_that_is_sent(tmp_path, open_page, no_faults):
    workspace = tmp_path / "workspace"
    reward_runs.folder(workspace, 1, "red")
    reward_runs.folder(workspace, 2, "green")
    app = App(workspace).start()
    try:
        page = train(open_page, app)
        page.get_by_role("button", name="Show run 1").click()
        page.wait_for_selector(f".wb-verdict >> text={reward_runs.SAYS['red']}")
        page.get_by_text("All checks before PPO").click()
        page.wait_for_selector(".wb-checks tbody tr:has-text('Agrees with held-out pairs') >> text=✕ red")
        page.get_by_role("radio", name=re.compile("^PPO")).check()
        page.wait_for_selector(".wb-start:not([disabled])")
        pick = page.get_by_label("Reward", exact=True)
        assert "run 2, reward model, green, 88 % (84 to 91)" in pick.inner_text()
        assert pick.input_value() == "run:2" and page.locator(".wb-red").is_hidden()
        pick.select_option("run:1")
        page.wait_for_selector(".wb-red >> text=Run 1 is red")
        assert page.locator(".wb-start").is_disabled()
        no_faults(page)
        page.get_by_label("Train anyway").check()
        page.wait_for_selector(".wb-start:not([disabled])")
        page.get_by_role("button", name="Show command").click()
        page.wait_for_selector("code:has-text('--allow-failed-gate')")
        pick.select_option("other")  # another reward is another question
        page.get_by_label("Another reward").fill("run:2 + 0.5*run:1")
        page.wait_for_selector("text=The sum of run 2 and 0.5 × run 1.")
        assert not page.get_by_label("Train anyway").is_checked()
        assert page.locator(".wb-start").is_disabled()
        page.get_by_label("Train anyway").check()
        page.wait_for_selector(".wb-start:not([disabled])")
        page.locator(".wb-start").click()
        page.wait_for_selector("text=Started anyway although run 1 is red")
        config = find_run(workspace, 3).config
        assert config["args"]["reward"] == "run:2 + 0.5*run:1" and config["despite"][0].startswith("run 1 is red")
        page.goto("about:blank")
    finally:
        for run in list_runs(workspace):
            control.stop(settings.load(workspace), run)
        app.stop()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_axe_finds_nothing_serious(looked_back, open_page, no_faults, width, dark):
    page = train(open_page, looked_back, width=width, dark=dark)
    page.wait_for_selector("[data-curve=loss] .main-svg")
    page.get_by_role("button", name="All settings").click()
    page.get_by_role("button", name="Show command").click()
    no_faults(page)


def test_axe_finds_nothing_serious_in_an_empty_workspace(app, open_page, no_faults):
    page = train(open_page, app)
    page.wait_for_selector(".wb-train .wb-empty")
    no_faults(page)


def test_a_run_that_cannot_be_read_is_named_in_the_header_and_a_spoiled_line_under_its_run(looked_back, open_page):
    config = next(looked_back.workspace.glob("runs/0002-*")) / "config.json"
    metrics = next(looked_back.workspace.glob("runs/0001-*")) / "metrics.jsonl"
    before = config.read_text(), metrics.read_text()
    config.write_text(before[0].replace('"number": 2', '"number": "two"'))
    metrics.write_text("null\n" + before[1])
    try:
        page = train(open_page, looked_back)
        page.wait_for_selector("text=runs/0002-sft is left out: config.json, number: ")
        page.get_by_role("button", name="Show run 1").click()
        page.wait_for_selector("text=metrics.jsonl, line 1 is left out: it is not a JSON object.")
        page.wait_for_selector("[data-curve=loss] .main-svg")
        assert page.get_by_role("button", name="Show run 2").count() == 0
    finally:
        config.write_text(before[0])
        metrics.write_text(before[1])

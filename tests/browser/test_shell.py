"""The frame in a real browser: header, tabs, keys, light and dark, phone, a lost and found connection."""

import urllib.error
import urllib.request
import zipfile

import pytest

from tests.browser.app import App
from tests.browser.conftest import watch
from workbench.store import Store

TABS = ["Demonstrate", "Rank", "Train", "Score", "Compare"]


def dark(page) -> bool:
    return page.evaluate("document.body.classList.contains('dark')")


def test_the_header_names_model_steps_and_the_next_step(app, open_page):
    page = open_page(app.url)
    assert page.get_by_role("heading", name="Alignment workbench").is_visible()
    page.wait_for_function("document.querySelector('.wb-model').textContent.startsWith('sandbox')")
    steps = page.locator(".wb-step-label").all_inner_texts()
    assert [step for step in steps if step != "Reward"] == ["Demonstrate", "Rank", "Align", "Compare"]
    assert page.locator("[aria-current=step]").count() == 1
    assert page.get_by_role("tab").all_inner_texts() == TABS
    assert page.locator(".wb-next").inner_text().startswith("Next: ")
    assert page.locator("footer").count() == 0 or not page.locator("footer").first.is_visible()


def test_steps_open_their_tabs_and_the_address_remembers(app, open_page):
    page = open_page(app.url)
    for step, tab in (("Rank", "rank"), ("Compare", "compare"), ("Demonstrate", "demonstrate")):
        page.locator(".wb-step button", has_text=step).first.click()
        page.wait_for_selector(f"#wb-tab-{tab}-button[aria-selected=true]")
        assert page.url.endswith(f"#{tab}")
    page.goto(f"{app.url}#rank")
    page.reload()
    page.wait_for_selector("#wb-tab-rank-button[aria-selected=true]")


def test_the_key_sheet_opens_and_closes_by_key_and_not_while_typing(app, open_page):
    page = open_page(f"{app.url}#rank")
    page.wait_for_selector("#wb-tab-rank-button[aria-selected=true]")
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="All keys")
    assert sheet.is_visible() and "equally good" in sheet.inner_text()
    page.keyboard.press("Escape")
    sheet.wait_for(state="hidden")
    page.get_by_role("tab", name="Demonstrate").click()
    page.get_by_role("button", name="Add").first.click()
    page.get_by_role("textbox").first.fill("what")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").count() == 0 or not page.get_by_role("dialog").is_visible()


def test_light_and_dark_follow_the_system_and_the_choice_is_kept(app, open_page):
    page = open_page(app.url, dark=True)
    assert dark(page)
    page.get_by_role("button", name="Light or dark").click()
    assert not dark(page)
    page.reload()
    page.wait_for_selector(".wb-steps li")
    page.wait_for_function("!document.body.classList.contains('dark')")
    page.get_by_role("button", name="Light or dark").click()
    assert dark(page)


@pytest.mark.parametrize("tab", ["demonstrate", "rank"])
@pytest.mark.parametrize("is_dark", [False, True])
def test_axe_finds_nothing_serious_in_an_empty_workspace(app, open_page, no_faults, tab, is_dark):
    page = open_page(f"{app.url}#{tab}", dark=is_dark)
    page.wait_for_selector(f"#wb-tab-{tab}-button[aria-selected=true]")
    page.wait_for_selector(f".wb-{tab} .wb-empty")
    no_faults(page)


@pytest.mark.parametrize("width", [390, 640, 1280])
def test_nothing_is_wider_than_the_page(app, open_page, width):
    page = open_page(app.url, width=width, height=844)
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab


def test_30_another_site_is_refused_by_the_real_server(app):
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(app.url, headers=headers), timeout=30)
        assert caught.value.code == 403
    for path in ("gradio_api/component_server/", "gradio_api/upload", "gradio_api/queue/join"):
        sent = urllib.request.Request(app.url + path, data=b"{}", headers={"Origin": "http://evil.example"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(sent, timeout=30)
        assert caught.value.code == 403


def test_31_with_a_login_nobody_gets_in_unnamed_and_answers_carry_the_name(tmp_path, browser):
    logins = tmp_path / "logins"
    logins.write_text("ann:correct horse\n", encoding="utf-8")
    app = App(tmp_path / "workspace", "--auth-file", str(logins)).start()
    context = browser.new_context()
    try:
        body = b'{"data": {}, "component_id": 1, "fn_name": "wb_overview", "session_hash": "x"}'
        sent = urllib.request.Request(app.url + "gradio_api/component_server/", data=body)
        sent.add_header("Content-Type", "application/json")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(sent, timeout=30)
        assert caught.value.code == 401
        page = context.new_page()
        seen = watch(page, app.url)
        seen.allowed += ["401"]  # what the page hears before anybody has logged in
        page.goto(app.url)
        page.get_by_label("username").fill("ann")
        page.get_by_label("password").fill("correct horse")
        page.get_by_role("button", name="Login").click()
        page.wait_for_selector(".wb-steps li", state="attached")
        page.get_by_role("button", name="Start with 30 sample prompts").click()
        page.locator("#wd-field").fill("Mine.")
        page.keyboard.press("Control+Enter")
        page.wait_for_function("document.querySelector('#wd-status').textContent.includes('✓ Saved')")
        with Store(app.workspace / "workbench.db") as store:
            assert [each.rater for each in store.demonstrations()] == ["ann"]
        seen.check()
    finally:
        context.close()
        app.stop()


def test_38_on_a_space_a_banner_warns_and_one_click_exports(tmp_path, open_page):
    app = App(tmp_path / "workspace")
    app.environment["SPACE_ID"] = "somebody/workbench"
    app.start()
    try:
        page = open_page(app.url)
        page.wait_for_selector("text=This Space loses everything when it restarts.")
        with page.expect_download() as got:
            page.get_by_role("button", name="Export everything").click()
        with zipfile.ZipFile(got.value.path()) as archive:
            kinds = ("prompts", "demonstrations", "comparisons", "steps")
            assert set(archive.namelist()) == {f"{kind}.jsonl" for kind in kinds}
        page.close()  # before its app goes
    finally:
        app.stop()


def test_a_lost_app_is_told_and_found_again_without_a_reload(own_app, open_page):
    page = open_page(own_app.url)
    page.seen.allowed += ["Failed to load resource", "net::ERR_", "EventSource", "Could not"]
    own_app.kill()
    page.evaluate("workbench.refresh()")
    page.wait_for_selector("text=! No connection to the workbench. Training goes on; this page tries again.")
    own_app.start()
    page.wait_for_function("!document.querySelector('.wb-lost')")
    assert page.get_by_role("tab", name="Rank").is_visible()

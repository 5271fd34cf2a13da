"""Demonstrate in a real browser, over the real app and the bundled model."""

import pytest

from workbench.store import Store

FIELD = "#wd-field"


@pytest.fixture
def page(app, open_page):
    tab = open_page(f"{app.url}#demonstrate")
    tab.wait_for_selector(".wb-demonstrate .wb-empty, .wd-item")
    if tab.locator(".wb-demonstrate .wb-empty").count():
        tab.get_by_role("button", name="Start with 30 sample prompts").click()
        tab.wait_for_selector(".wd-item")
    tab.wait_for_selector(FIELD)
    return tab


def written(app):
    with Store(app.workspace / "workbench.db") as store:
        return store.demonstrations()


def status(page, text):
    page.wait_for_function("text => document.querySelector('#wd-status').textContent.includes(text)", arg=text)


def test_writing_by_keyboard_saves_and_goes_on(app, page):
    before = len(written(app))
    first = page.locator(".wd-editor .wb-prompt").inner_text()
    assert page.evaluate("document.activeElement.id") == "wd-field"
    page.keyboard.type("What I wish it said.")
    page.keyboard.press("Control+Enter")
    status(page, "✓ Saved")
    assert page.locator(".wd-editor .wb-prompt").inner_text() != first
    assert page.input_value(FIELD) == "" and page.evaluate("document.activeElement.id") == "wd-field"
    saved = written(app)
    assert len(saved) == before + 1 and (saved[-1].prompt, saved[-1].text) == (first, "What I wish it said.")
    assert page.locator(".wd-tick").count() == len(saved)


def test_nothing_can_be_written_before_a_prompt_is_open(page, held):
    with held(page, "open_prompt"):
        page.wait_for_selector(FIELD)
        assert not page.is_enabled(FIELD)
    page.fill(FIELD, "Not early.")  # waits until it can be written to
    status(page, "Draft saved")
    page.fill(FIELD, "")
    status(page, "")


def test_a_draft_outlives_a_reload_and_another_prompt(page):
    page.fill(FIELD, "Half an answ")
    status(page, "Draft saved")
    page.reload()
    page.wait_for_selector(".wd-item")
    page.wait_for_function("document.querySelector('#wd-field')?.value === 'Half an answ'")
    here = page.locator(".wd-item[aria-current]").get_attribute("data-id")
    page.get_by_role("button", name="Skip", exact=True).click()
    page.wait_for_function("document.querySelector('#wd-field').value === ''")
    page.locator(f".wd-item[data-id='{here}']").click()
    page.wait_for_function("document.querySelector('#wd-field').value === 'Half an answ'")
    page.fill(FIELD, "")
    status(page, "")


def test_a_save_that_fails_keeps_the_text_and_says_so(app, page):
    page.seen.allowed += ["Failed to load resource", "net::ERR_"]
    before = len(written(app))
    page.context.set_offline(True)
    page.fill(FIELD, "Not lost.")
    page.keyboard.press("Control+Enter")
    status(page, "! Not saved. Your text is kept on this device.")
    assert page.input_value(FIELD) == "Not lost." and len(written(app)) == before
    page.context.set_offline(False)
    page.get_by_role("button", name="Save and next").click()
    status(page, "✓ Saved")
    assert written(app)[-1].text == "Not lost."


def test_edit_delete_and_undo(app, page):
    page.fill(FIELD, "First words.")
    page.keyboard.press("Control+Enter")
    status(page, "✓ Saved")
    mine = written(app)[-1]
    page.locator(f".wd-item[data-id='{mine.prompt_id}']").click()
    page.wait_for_function("document.querySelector('#wd-field').value === 'First words.'")
    page.fill(FIELD, "Better words.")
    page.get_by_role("button", name="Save change").click()
    status(page, "✓ Saved")
    assert written(app)[-1].text == "Better words."
    page.get_by_role("button", name="Delete", exact=True).click()
    page.wait_for_selector("text=Deleted.")
    assert mine.id not in [each.id for each in written(app)]
    page.get_by_role("button", name="Undo", exact=True).click()
    page.wait_for_selector("text=Undone. This answer is back.")
    assert mine.id in [each.id for each in written(app)]


def test_the_models_answer_is_taken_over_for_editing(app, page):
    page.wait_for_function("!document.querySelector('.wd-says-buttons button').disabled")
    answer = page.locator(".wd-says-text").inner_text()
    page.get_by_role("button", name="Edit this one").click()
    assert page.input_value(FIELD) == answer
    page.keyboard.press("Control+Enter")
    status(page, "✓ Saved")
    saved = written(app)[-1]
    with Store(app.workspace / "workbench.db") as store:
        assert saved.text == answer.strip() and store.response(saved.draft_of).text == answer


def test_27_markup_in_prompts_and_answers_stays_text(app, page):
    evil = "<img src=x onerror=\"document.title='gone'\"><script>document.title='gone'</script>[x](javascript:alert(1))"
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_label("Your prompts, one per line").fill(evil)
    page.get_by_role("button", name="Add prompts").click()
    page.wait_for_function("text => document.querySelector('.wd-editor .wb-prompt').textContent === text", arg=evil)
    page.fill(FIELD, f"{evil}\n\n**bold** and `code` ![p](http://127.0.0.1:9/x.png)\n- one\n- two")
    page.get_by_role("button", name="Preview", exact=True).click()
    preview = page.locator(".wd-preview")
    assert evil in preview.inner_text() and "![p](http://127.0.0.1:9/x.png)" in preview.inner_text()
    assert preview.locator("strong").inner_text() == "bold" and preview.locator("li").count() == 2
    assert page.locator(".wb-demonstrate img, .wb-demonstrate script, .wb-demonstrate a").count() == 0
    assert page.title() != "gone"
    page.get_by_role("button", name="Write", exact=True).click()
    page.fill(FIELD, "")
    status(page, "")


def test_a_file_is_imported_and_its_bad_line_named(app, page, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "Name a colour.", "completion": "Blue."}\nnot json\n', encoding="utf-8")
    before = len(written(app))
    page.get_by_role("button", name="Add", exact=True).click()
    page.set_input_files("#wd-file", file)
    page.wait_for_selector("text=1 demonstration added from mine.jsonl (trl).")
    assert "Line 2" in page.locator(".wd-report").inner_text()
    assert len(written(app)) == before + 1


@pytest.mark.parametrize(("width", "is_dark"), [(1280, False), (1280, True), (390, False)])
def test_axe_finds_nothing_serious_while_writing(app, page, open_page, no_faults, width, is_dark):
    other = open_page(f"{app.url}#demonstrate", width=width, dark=is_dark)
    other.wait_for_selector(".wd-item")
    other.wait_for_function("!document.querySelector('.wd-says-buttons button').disabled")
    no_faults(other)


def test_a_prompt_too_long_stays_in_the_field_and_a_deleted_one_comes_back(app, page):
    page.wait_for_function("!document.querySelector('.wd-says').textContent.includes('Loading')")
    long = "Tell me more. " * 900
    page.get_by_role("button", name="Add", exact=True).click()
    page.fill(".wd-pasted", f"{long}\nIs this one short?")
    page.get_by_role("button", name="Add prompts").click()
    warning = page.wait_for_selector(".wd-report .wb-bad").inner_text()
    assert warning.startswith("This prompt is too long: ") and warning.endswith("sandbox reads 448.")
    assert page.input_value(".wd-pasted") == long.strip()
    page.wait_for_selector(".wd-item[aria-current] >> text=Is this one short?")
    listed = page.locator(".wd-item").count()
    page.get_by_role("button", name="Delete the prompt Is this one short?").click()
    page.wait_for_selector("text=Prompt deleted.")
    assert page.locator(".wd-item").count() == listed - 1
    page.locator(".wd-notice").get_by_role("button", name="Undo").click()
    page.wait_for_selector("text=Undone. This prompt is back.")
    assert page.locator(".wd-item").count() == listed
    assert "Is this one short?" in page.locator(".wd-item[aria-current]").inner_text()

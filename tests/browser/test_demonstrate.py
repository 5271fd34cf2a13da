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
    return ready(tab)


def ready(tab):
    """Wait until the field can be written to by keyboard."""
    tab.wait_for_function("document.activeElement.id === 'wd-field'")
    return tab


def written(app):
    with Store(app.workspace / "workbench.db") as store:
        return store.demonstrations()


def status(page, text):
    page.wait_for_function("text => document.querySelector('#wd-status').textContent.includes(text)", arg=text)


def clear(page):
    """Empty the field and its draft, for the tests after this one."""
    page.fill(FIELD, "")
    page.wait_for_function("document.querySelector('#wd-status').textContent === ''")


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


def on_screen(page):
    return page.locator(".wd-editor .wb-prompt").inner_text()


def add(page, text, several_lines=False):
    """Add prompts through the field above the list."""
    if not page.locator(".wd-pasted").is_visible():
        page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("button", name="Several lines each" if several_lines else "One per line").click()
    page.get_by_label("Your prompts").fill(text)
    page.get_by_role("button", name="Add prompts").click()


def test_writing_begins_before_the_server_has_sent_all_of_the_prompt(app, page, held):
    with held(page, "open_prompt"):
        page.wait_for_selector(FIELD)
        prompt = on_screen(page)
        page.fill(FIELD, "Not too early.")
    page.wait_for_function("document.querySelector('.wd-draft')")
    assert (page.input_value(FIELD), on_screen(page)) == ("Not too early.", prompt)
    status(page, "Draft saved")
    clear(page)


def test_nothing_typed_is_lost_on_a_slow_line(app, page, slow):
    slow(page)
    seen = []
    for text in ("First, at once.", "Second, at once.", "Third, not saved."):
        seen.append(on_screen(page))
        page.keyboard.type(text)
        if len(seen) < 3:
            page.keyboard.press("Control+Enter")
    assert len(set(seen)) == 3 and page.input_value(FIELD) == "Third, not saved."
    assert page.locator(".wd-draft", has_text="Saving").count() == 2  # not shown as saved before the server has said so
    page.wait_for_function("![...document.querySelectorAll('.wd-draft')].some((each) => each.textContent === 'Saving')")
    saved = written(app)[-2:]
    assert {each.prompt: each.text for each in saved} == {seen[0]: "First, at once.", seen[1]: "Second, at once."}
    status(page, "Draft saved")
    assert (on_screen(page), page.input_value(FIELD)) == (seen[2], "Third, not saved.")
    clear(page)


def test_a_failed_save_is_named_while_the_next_answer_goes_on_and_comes_back_whole(app, page):
    before, prompt, waiting = len(written(app)), on_screen(page), []

    def wait(route) -> None:
        if '"wb_save_demonstration"' in (route.request.post_data or ""):
            waiting.append(route)
        else:
            route.continue_()

    page.route("**/component_server/**", wait)
    page.keyboard.type("Not lost.")
    with page.expect_request(lambda request: '"wb_save_demonstration"' in (request.post_data or "")):
        page.keyboard.press("Control+Enter")
    page.keyboard.type("Begun")
    waiting.pop().fulfill(json={"error": "The disk is full."})
    failure = page.wait_for_selector(".wd-failures p").inner_text()
    assert failure.startswith("! Not saved: your answer to “") and prompt[:40] in failure and "disk is full" in failure
    assert page.input_value(FIELD) == "Begun" and len(written(app)) == before
    page.unroute("**/component_server/**")
    page.get_by_role("button", name="Open it").click()
    status(page, "! Not saved. Your text is kept on this device. The disk is full.")
    assert (on_screen(page), page.input_value(FIELD)) == (prompt, "Not lost.")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.querySelector('#wd-field').value === 'Begun'")
    page.wait_for_function(
        "![...document.querySelectorAll('.wd-draft')].some((each) => /Sav|saved/.test(each.textContent))"
    )
    assert [each.text for each in written(app)[before:]] == ["Not lost."]
    clear(page)


def test_a_blank_save_says_so_until_something_is_written(page):
    page.fill(FIELD, " ")
    page.keyboard.press("Control+Enter")
    status(page, "Write an answer first.")
    page.wait_for_timeout(1500)  # the draft was sent meanwhile
    status(page, "Write an answer first.")
    clear(page)


def test_the_second_tab_that_answers_a_prompt_is_told(app, page, open_page):
    prompt, before = on_screen(page), len(written(app))
    other = ready(open_page(f"{app.url}#demonstrate"))
    assert on_screen(other) == prompt
    page.keyboard.type("Mine.")
    page.keyboard.press("Control+Enter")
    status(page, "✓ Saved")
    other.fill(FIELD, "The other one.")
    other.keyboard.press("Control+Enter")
    other.wait_for_selector("text=You have answered this prompt elsewhere in the meantime.")
    status(other, "! Not saved: answered elsewhere")
    assert (on_screen(other), other.input_value(FIELD)) == (prompt, "The other one.")
    assert "Mine." in other.locator(".wd-others").inner_text()
    assert [each.text for each in written(app)[before:]] == ["Mine."]
    other.get_by_role("button", name="Replace the other one with mine").click()
    status(other, "✓ Saved")
    assert [each.text for each in written(app)[before:]] == ["The other one."]
    other.reload()
    ready(other)
    page.keyboard.type("One.")
    page.keyboard.press("Control+Enter")
    status(page, "✓ Saved")
    other.fill(FIELD, "Two.")
    other.keyboard.press("Control+Enter")
    other.get_by_role("button", name="Keep both").click()
    status(other, "✓ Saved")
    assert [each.text for each in written(app)[before:]] == ["The other one.", "One.", "Two."]


def test_a_held_out_prompt_says_why_it_is_not_offered(page):
    add(page, "Name a bird.\nName a tree.")
    page.wait_for_selector("text=Held out: an answer here is used for evaluation only")
    assert on_screen(page) == "Name a bird."
    row = page.locator(".wd-item", has_text="Name a bird.")
    assert "Held out" in row.inner_text()
    for _ in range(page.locator(".wd-item").count()):
        page.get_by_role("button", name="Skip", exact=True).click()
        assert on_screen(page) != "Name a bird."


def test_prompts_of_several_lines_can_be_added(page):
    add(page, "Write a poem.\n\nAbout the sea.\n---\nName a river.", several_lines=True)
    page.wait_for_function("document.querySelector('.wd-editor .wb-prompt').textContent.startsWith('Write a poem.')")
    assert on_screen(page) == "Write a poem.\n\nAbout the sea."
    assert page.locator(".wd-item", has_text="Name a river.").count() == 1
    row, box = page.locator(".wd-item[aria-current]").bounding_box(), page.locator(".wd-list").bounding_box()
    assert box["y"] <= row["y"] <= box["y"] + box["height"]  # the list is scrolled to it


def test_what_is_written_from_right_to_left_is_shown_so(app, page):
    arabic = "ما هي عاصمة مصر؟"
    add(page, arabic)
    page.wait_for_function("text => document.querySelector('.wd-editor .wb-prompt').textContent === text", arg=arabic)
    page.fill(FIELD, "القاهرة.")
    way = "each => getComputedStyle(each).direction"
    for selector in (".wd-editor .wb-prompt", FIELD, ".wd-item[aria-current] .wd-item-text"):
        assert page.locator(selector).evaluate(way) == "rtl"
    page.get_by_role("button", name="Preview", exact=True).click()
    assert page.locator(".wd-preview p").evaluate(way) == "rtl"
    assert page.locator(".wd-editor .wd-field-label").evaluate(way) == "ltr"
    page.get_by_role("button", name="Write", exact=True).click()
    clear(page)


def test_adding_and_importing_work_from_an_empty_page_on(own_app, open_page, tmp_path, drop):
    page = open_page(f"{own_app.url}#demonstrate")
    page.get_by_role("button", name="Start with 30 sample prompts").click()
    page.wait_for_selector(FIELD)
    add(page, "Name a river.")
    page.wait_for_selector(".wd-item[aria-current] >> text=Name a river.")
    with Store(own_app.workspace / "workbench.db") as store:
        for prompt in store.prompts():
            store.delete_prompt(prompt.id)
    page.reload()
    page.wait_for_selector(".wb-demonstrate .wb-empty")
    drop(page, "mine.jsonl", '{"prompt": "Name a colour.", "completion": "Blue."}\nnot json\n')
    page.wait_for_selector(FIELD)
    report = page.locator(".wi-report")
    assert "1 demonstration added from mine.jsonl (trl)." in report.inner_text()
    assert "1 row left out:" in report.inner_text() and "Line 2: " in report.inner_text()
    drop(page, "notes.txt", "x")
    page.wait_for_selector("text=notes.txt: only .jsonl")
    assert report.count() == 2
    page.get_by_role("button", name="Dismiss the report on notes.txt").click()
    add(page, "Name a sea.")
    page.wait_for_selector(".wd-item[aria-current] >> text=Name a sea.")
    assert report.count() == 1  # it stays until it is dismissed


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
    clear(page)


def test_a_save_that_fails_keeps_the_text_and_is_sent_when_the_line_is_back(app, page):
    page.seen.allowed += ["Failed to load resource", "net::ERR_"]
    before, prompt = len(written(app)), on_screen(page)
    page.context.set_offline(True)
    page.fill(FIELD, "Not lo")
    status(page, "! Draft kept on this device only. No connection to the workbench.")
    page.context.set_offline(False)
    status(page, "Draft saved")
    page.context.set_offline(True)
    page.fill(FIELD, "Not lost.")
    page.keyboard.press("Control+Enter")
    status(page, "! Not saved. Your text is kept on this device.")
    assert page.input_value(FIELD) == "Not lost." and len(written(app)) == before and on_screen(page) == prompt
    page.context.set_offline(False)
    status(page, "✓ Saved")
    assert "Not saved" not in page.locator(".wb-demonstrate").inner_text()
    assert [(each.prompt, each.text) for each in written(app)[before:]] == [(prompt, "Not lost.")]


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
    page.get_by_label("Your prompts").fill(evil)
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
    clear(page)


def test_a_file_is_imported_and_its_bad_line_named(app, page, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "Name a colour.", "completion": "Blue."}\nnot json\n', encoding="utf-8")
    before = len(written(app))
    page.get_by_role("button", name="Add", exact=True).click()
    page.set_input_files("#wd-file", file)
    page.wait_for_selector("text=1 demonstration added from mine.jsonl (trl).")
    assert "Line 2" in page.locator(".wi-report").inner_text()
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

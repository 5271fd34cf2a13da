"""Rank in a real browser, by keyboard, over the real app and the bundled model."""

import pytest

from workbench.store import Store

READY = "document.querySelector('.wr-prompt')?.textContent && !document.querySelector('.wr-choice').disabled"


def arrive(page):
    """To the first pair, asking for pairs where there are none."""
    page.wait_for_selector("#wb-tab-rank-button[aria-selected=true]")
    page.wait_for_selector(".wr-instead .wb-empty, .wr-prompt:not([hidden])")
    if page.locator(".wr-instead .wb-empty").count():
        page.get_by_role("button", name="Write answers").click()
    page.wait_for_function(READY)
    return page


@pytest.fixture
def page(app, open_page):
    return arrive(open_page(f"{app.url}#rank"))


def chosen(app):
    with Store(app.workspace / "workbench.db") as store:
        return store.comparisons()


def on_screen(page):
    return page.locator(".wr-prompt").inner_text(), page.locator(".wr-text").all_inner_texts()


def press(page, key):
    """Press it and wait for the next pair."""
    before = on_screen(page)
    page.keyboard.press(key)
    page.wait_for_function(READY)
    return before


def saved(page):
    page.wait_for_function("['✓ Saved'].includes(document.querySelector('.wr-state').textContent)")


def test_ten_pairs_by_keyboard_alone(app, page):
    before = len(chosen(app))
    seen = [press(page, key) for key in ("1", "2", "ArrowLeft", "ArrowRight", "0", "b", "1", "2", "1", "2")]
    saved(page)
    page.wait_for_function("n => document.querySelector('.wr-count').textContent.startsWith(`${n} `)", arg=before + 10)
    comparisons = chosen(app)[before:]
    assert len(comparisons) == 10 and [each.prompt for each in comparisons] == [prompt for prompt, _ in seen]
    by = [{row.id: row.text for row in each.responses} for each in comparisons]
    for one, texts, (_, shown) in zip(comparisons, by, seen, strict=True):
        assert [texts[id] or "(empty answer)" for id in one.shown] == shown
    first = [each.shown.index(each.groups[0][0]) for each in comparisons]
    assert [len(each.groups) for each in comparisons] == [2, 2, 2, 2, 1, 1, 2, 2, 2, 2]
    assert [first[at] for at in (0, 1, 2, 3, 6, 7, 8, 9)] == [0, 1, 0, 1, 0, 1, 0, 1]
    assert [each.acceptable for each in comparisons][4:6] == [None, 0]
    assert all(each.rater == "you" and not each.simulated and each.seconds is not None for each in comparisons)


def test_undo_brings_the_pair_back_as_often_as_one_likes(app, page):
    before = len(chosen(app))
    first, second = press(page, "1"), press(page, "2")
    saved(page)
    page.keyboard.press("u")
    page.wait_for_selector("text=Undone. This pair is back.")
    assert on_screen(page) == second
    page.keyboard.press("u")
    assert on_screen(page) == first
    saved(page)
    page.wait_for_function("n => document.querySelector('.wr-count').textContent.startsWith(`${n} `)", arg=before)
    assert len(chosen(app)) == before
    press(page, "s")
    page.keyboard.press("u")
    assert on_screen(page) == first


def test_my_own_answer_beats_both(app, page):
    prompt, _ = on_screen(page)
    page.keyboard.press("e")
    page.keyboard.type("12 b, said I.")  # these are keys elsewhere; in the field they are letters
    page.keyboard.press("Control+Enter")
    page.wait_for_function(READY)
    saved(page)
    comparison = chosen(app)[-1]
    assert (
        comparison.prompt == prompt
        and {a.text for a, _ in comparison.pairs()} == {"12 b, said I."}
        and len(comparison.pairs()) == 2
    )
    with Store(app.workspace / "workbench.db") as store:
        assert store.demonstrations()[-1].text == "12 b, said I."
    assert "Your answer over both" in page.locator(".wr-last").inner_text()


def test_leaving_my_own_answer_keeps_its_text(page):
    page.keyboard.press("e")
    page.keyboard.type("half")
    page.keyboard.press("Escape")
    assert not page.locator(".wr-own").is_visible()
    page.keyboard.press("e")
    assert page.input_value(".wr-own-field") == "half"
    page.fill(".wr-own-field", "")
    page.keyboard.press("Escape")


def test_an_earlier_choice_can_be_changed(app, page):
    was = press(page, "1")
    saved(page)
    now = on_screen(page)
    page.locator(".wr-last-change").first.click()
    page.wait_for_selector("text=You chose “A over B”.")
    assert on_screen(page) == was
    page.keyboard.press("2")
    page.wait_for_selector("text=Changed to “B over A”.")
    assert on_screen(page) == now
    last = chosen(app)[-1]
    assert last.groups[0] == (last.shown[1],) and last.version == 2


def test_offline_choices_wait_and_are_sent_later_once(app, page):
    page.seen.allowed += ["Failed to load resource", "net::ERR_"]
    before = len(chosen(app))
    page.wait_for_timeout(1500)  # let the page fill its own queue
    page.context.set_offline(True)
    for key in ("1", "2", "b"):
        page.keyboard.press(key)
    page.wait_for_selector("text=! Offline. 3 choices wait on this device and are sent when you are back.")
    assert len(chosen(app)) == before
    page.context.set_offline(False)
    page.wait_for_selector("text=✓ All 3 choices saved")
    assert len(chosen(app)) == before + 3


def test_unsent_choices_outlive_a_closed_page(app, page):
    page.seen.allowed += ["Failed to load resource", "net::ERR_"]
    before = len(chosen(app))
    page.wait_for_timeout(1500)
    page.context.set_offline(True)
    page.keyboard.press("1")
    page.wait_for_selector("text=! Offline. 1 choice waits on this device and is sent when you are back.")
    page.context.set_offline(False)
    page.route("**/component_server/**", lambda route: route.abort())  # the page dies before it can send
    second = page.context.new_page()
    page.close()
    second.goto(f"{app.url}#rank")
    second.wait_for_function(READY)
    second.wait_for_function("n => document.querySelector('.wr-count').textContent.startsWith(`${n} `)", arg=before + 1)
    second.wait_for_function("Object.keys(localStorage).every(name => !name.includes('rank-outbox'))")
    assert len(chosen(app)) == before + 1


def test_a_click_on_a_card_chooses_it_and_keys_repeat_nothing(app, page):
    before = len(chosen(app))
    page.get_by_role("button", name="Answer B").click()
    page.wait_for_function(READY)
    saved(page)
    last = chosen(app)[-1]
    assert last.groups[0] == (last.shown[1],)
    page.keyboard.down("1")
    page.keyboard.down("1")  # held: the browser repeats it
    page.keyboard.down("1")
    page.keyboard.up("1")
    saved(page)
    page.wait_for_function("n => document.querySelector('.wr-count').textContent.startsWith(`${n} `)", arg=before + 2)
    assert len(chosen(app)) == before + 2


def test_1_nothing_acknowledged_is_lost_by_kill_9(own_app, open_page):
    page = arrive(open_page(f"{own_app.url}#rank"))
    page.seen.allowed += ["Failed to load resource", "net::ERR_", "EventSource", "Could not"]
    for key in "12012":
        press(page, key)
        saved(page)
    own_app.kill()
    assert len(chosen(own_app)) == 5
    page.keyboard.press("1")  # judged while the app is gone: waits on this device
    page.wait_for_selector("text=! Offline. 1 choice waits")
    own_app.start()
    page.wait_for_selector("text=✓ 1 choice saved")
    assert len(chosen(own_app)) == 6


def test_on_a_phone_the_buttons_stay_under_the_thumb(app, open_page, no_faults):
    page = arrive(open_page(f"{app.url}#rank", width=390, height=844, has_touch=True))
    for name in ("A is better", "B is better", "Equally good", "Both bad"):
        box = page.get_by_role("button", name=name).bounding_box()
        assert box["height"] >= 48 and box["y"] + box["height"] <= 844
    assert not page.locator(".wr-choices .wb-key").first.is_visible()
    before = page.evaluate("document.querySelector('.wr-top').getBoundingClientRect().top")
    page.get_by_role("button", name="A is better").tap()
    page.wait_for_function(READY)
    saved(page)
    page.wait_for_function("top => document.querySelector('.wr-top').getBoundingClientRect().top === top", arg=before)
    page.wait_for_timeout(300)  # the key's flash is over
    no_faults(page)


@pytest.mark.parametrize("is_dark", [False, True])
def test_axe_finds_nothing_serious_while_ranking(app, open_page, no_faults, is_dark):
    page = arrive(open_page(f"{app.url}#rank", dark=is_dark))
    no_faults(page)
    page.keyboard.press("e")
    no_faults(page)


def test_a_file_dropped_on_the_tab_is_imported_and_reported(app, page, drop):
    before = len(chosen(app))
    drop(page, "pairs.jsonl", '{"prompt": "Name a colour.", "chosen": "Blue.", "rejected": "No."}\n{"prompt": "x"}\n')
    page.wait_for_selector("text=1 comparison added from pairs.jsonl (trl).")
    assert len(chosen(app)) == before + 1 and chosen(app)[-1].source == "import:pairs.jsonl"
    report = page.locator(".wi-report")
    assert "1 row left out:" in report.inner_text() and "Line 2: " in report.inner_text()
    press(page, "s")
    assert report.is_visible()
    page.get_by_role("button", name="Dismiss the report on pairs.jsonl").click()
    assert report.count() == 0

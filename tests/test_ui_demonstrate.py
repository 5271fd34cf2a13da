"""Demonstrate: what the page asks of Python, over a real store."""

import base64
import gzip

import pytest

from tests.pages import Scripted
from workbench.collect.formats import FileError
from workbench.ui import demonstrate as tab
from workbench.ui.context import Refused

ME = {"rater": "you"}


@pytest.fixture
def context(tmp_path):
    page = Scripted(tmp_path)
    yield page
    page.close()


@pytest.fixture
def prompts(context):
    return context.store.add_prompts(["What is 2 + 2?", "Name a fruit.", "Hello!"], "person")


def save(context, prompt, text, token="t" * 16, **more):
    return tab.save_demonstration(context, ME | {"prompt_id": prompt.id, "text": text, "token": token, **more})


def test_an_empty_workspace_can_be_filled_with_the_starter(context):
    assert tab.demonstrations(context, ME)["prompts"] == []
    assert tab.use_starter(context, ME) == {"added": 30}
    listed = tab.demonstrations(context, ME)
    assert len(listed["prompts"]) == listed["total"] == 30 and listed["next"] == listed["prompts"][0]["id"]
    assert all(prompt.split == "train" for prompt in context.store.prompts())


def test_a_saved_answer_is_ticked_and_the_next_prompt_is_without_one(context, prompts):
    answer = save(context, prompts[0], "  Four.  ")
    assert answer["saved"]["text"] == "Four." and answer["written"] == 1 and answer["saved"]["who"] == "you"
    listed = tab.demonstrations(context, ME)
    assert [each["answers"] for each in listed["prompts"]] == [1, 0, 0] and listed["next"] == prompts[1].id


def test_sending_an_answer_twice_stores_it_once(context, prompts):
    first, again = save(context, prompts[0], "Four."), save(context, prompts[0], "Four.")
    assert first["saved"]["id"] == again["saved"]["id"] and again["written"] == 1


def test_drafts_are_kept_per_person_and_cleared_by_saving(context, prompts):
    tab.save_draft(context, ME | {"prompt_id": prompts[0].id, "text": "Fo"})
    tab.save_draft(context, {"rater": "ann", "prompt_id": prompts[0].id, "text": "hers"})
    assert tab.open_prompt(context, ME | {"id": prompts[0].id})["draft"] == "Fo"
    assert tab.demonstrations(context, ME)["prompts"][0]["draft"] is True
    save(context, prompts[0], "Four.")
    assert tab.open_prompt(context, ME | {"id": prompts[0].id})["draft"] == ""
    assert tab.open_prompt(context, {"rater": "ann", "id": prompts[0].id})["draft"] == "hers"


def test_15_the_second_to_edit_is_told_and_nothing_is_overwritten(context, prompts):
    saved = save(context, prompts[0], "Four.")["saved"]
    edit = {"id": saved["id"], "version": saved["version"]}
    assert tab.edit_demonstration(context, ME | edit | {"text": "4"})["saved"]["version"] == 2
    second = tab.edit_demonstration(context, {"rater": "ann", **edit, "text": "four, I think"})
    assert "changed" in second["conflict"] and second["theirs"]["text"] == "4"
    assert [each.text for each in context.store.demonstrations()] == ["4"]


def test_15_editing_what_was_deleted_loses_nothing(context, prompts):
    saved = save(context, prompts[0], "Four.")["saved"]
    tab.delete_demonstration(context, ME | {"id": saved["id"]})
    answer = tab.edit_demonstration(context, ME | {"id": saved["id"], "version": 1, "text": "4"})
    assert "deleted" in answer["conflict"] and answer["theirs"] is None


def test_deleting_can_be_undone(context, prompts):
    saved = save(context, prompts[0], "Four.")["saved"]
    assert tab.delete_demonstration(context, ME | {"id": saved["id"]})["written"] == 0
    assert tab.restore_demonstration(context, ME | {"id": saved["id"]})["written"] == 1


def test_skipped_prompts_come_last(context, prompts):
    assert tab.skip_prompt(context, ME | {"prompt_id": prompts[0].id})["next"] == prompts[1].id
    save(context, prompts[1], "Apple.")
    save(context, prompts[2], "Hello.", token="u" * 16)
    assert tab.demonstrations(context, ME)["next"] == prompts[0].id


def test_simulated_answers_are_named_so(context, prompts):
    context.store.add_demonstration(prompts[0].id, "Four.", "simulated careful", simulated=True)
    opened = tab.open_prompt(context, ME | {"id": prompts[0].id})
    assert [each["who"] for each in opened["answers"]] == ["simulated"]
    assert tab.demonstrations(context, ME)["simulated"] == 1


def test_the_model_is_asked_once_and_again_on_demand(context, prompts):
    first = tab.model_says(context, ME | {"id": prompts[0].id})
    assert first["text"] == "answer 0 to What is 2 + 2?"
    assert tab.model_says(context, ME | {"id": prompts[0].id}) == first
    again = tab.model_says(context, ME | {"id": prompts[0].id, "again": True})
    assert again["text"] == "answer 1 to What is 2 + 2?" and again["id"] != first["id"]


def test_while_the_model_loads_the_page_is_told_how_far(context, prompts):
    context.model_state = "loading"
    assert tab.model_says(context, ME | {"id": prompts[0].id})["loading"].startswith("Loading the model, ")
    context.model_state, context.model_error = "failed", "nowhere is not on this machine."
    with pytest.raises(Refused, match="nowhere is not on this machine"):
        tab.model_says(context, ME | {"id": prompts[0].id})


def test_prompts_are_added_line_by_line_and_known_ones_stay(context, prompts):
    answer = tab.add_prompts(context, ME | {"text": "\n  Name a fruit. \nName a tree.\r\n\nName a bird.\n"})
    assert (answer["added"], answer["known"], answer["first"]) == (2, 1, prompts[1].id)
    with pytest.raises(Refused, match="empty"):
        tab.add_prompts(context, ME | {"text": " \n "})


def test_a_long_list_never_hides_what_is_still_to_do(context):
    many = context.store.add_prompts([f"Prompt {n}" for n in range(tab.LISTED + 60)], "person")
    for n, prompt in enumerate(many[:100]):
        context.store.add_demonstration(prompt.id, f"Answer {n}", "you")
    listed = tab.demonstrations(context, ME)
    ids = {each["id"] for each in listed["prompts"]}
    assert len(ids) == tab.LISTED and {prompt.id for prompt in many[100:]} <= ids and listed["total"] == tab.LISTED + 60


def upload(context, name, content):
    return tab.import_file(context, ME | {"name": name, "data": base64.b64encode(content).decode()})


def test_a_file_is_recognised_and_its_bad_lines_are_named(context):
    rows = b'{"prompt": "Name a fruit.", "completion": "Apple."}\nnot json\n{"prompt": "", "completion": "x"}\n'
    report = upload(context, "answers.jsonl", rows)
    assert (report["kind"], report["format"], report["added"]) == ("demonstrations", "trl", 1)
    assert [each["line"] for each in report["bad"]] == [2, 3] and report["bad_total"] == 2
    assert context.store.demonstrations()[0].source == "import:answers.jsonl"


@pytest.mark.parametrize("name", ["weights.bin", "notes", "../../etc/passwd", "a.jsonl.exe"])
def test_other_files_are_refused(context, name):
    with pytest.raises(Refused, match=r"only \.jsonl"):
        upload(context, name, b"x")


def test_a_packed_file_is_read_and_unused_columns_are_named(context):
    rows = gzip.compress(b'{"prompt": "Name a fruit.", "completion": "Apple.", "topic": "food"}\n')
    report = upload(context, "my.answers.jsonl.gz", rows)
    assert (report["added"], report["remarks"]) == (1, ["not used: topic"])


def test_answers_never_become_bare_prompts(context):
    with pytest.raises(FileError, match=r"Nothing was imported.*risposta.*On the page, rename"):
        upload(context, "a.jsonl", b'{"prompt": "Name a fruit.", "risposta": "Mela."}\n')
    assert context.store.counts()["prompts"] == 0


def test_20_a_name_with_folders_in_it_writes_nowhere(context, tmp_path):
    report = upload(context, "../../up\\..\\escape.jsonl", b'{"prompt": "p", "completion": "c"}\n')
    assert report["added"] == 1 and not list(tmp_path.parent.glob("**/escape.jsonl"))


def test_21_a_file_over_the_limit_is_refused(context):
    with pytest.raises(Refused, match="python -m workbench import FILE"):
        tab.import_file(context, ME | {"name": "big.jsonl", "data": "A" * int(tab.FILE_MB * 1.4e6 + 4)})


def test_a_torn_upload_is_refused(context):
    with pytest.raises(Refused, match="did not arrive complete"):
        tab.import_file(context, ME | {"name": "a.jsonl", "data": "%%%"})


def test_27_text_is_kept_exactly_as_written(context, prompts):
    text = '<script>alert(1)</script> <img src=x onerror="alert(1)"> [x](javascript:alert(1))'
    save(context, prompts[0], text)
    assert tab.open_prompt(context, ME | {"id": prompts[0].id})["answers"][0]["text"] == text


@pytest.mark.parametrize(
    "bad",
    [{}, {"text": "x"}, {"prompt_id": 1, "text": "", "token": "t" * 16}, {"prompt_id": 1, "text": "x", "token": "t"}],
)
def test_odd_payloads_are_refused(context, prompts, bad):
    with pytest.raises(Refused):
        tab.save_demonstration(context, ME | bad)


def test_what_answers_buy_is_told_without_invented_figures():
    assert tab.advice(0) == "After about 30 answers, a first SFT run can pick up your tone and length."
    assert tab.advice(29) == tab.advice(0)
    assert "Enough for a first SFT run" in tab.advice(30)
    assert "ranking teaches more" in tab.advice(150)


LONG = "Tell me more. " * 300


def test_a_prompt_too_long_for_the_model_is_said_on_add_and_comes_back(context, prompts):
    added = tab.add_prompts(context, ME | {"text": f"{LONG}\nShort one."})
    assert added["why"] == "This prompt is too long: 900 tokens; sandbox reads 448."
    assert (added["added"], added["rest"]) == (1, LONG.strip())
    assert [p.text for p in context.store.prompts()][3:] == ["Short one."]
    nothing = tab.add_prompts(context, ME | {"text": f"{LONG}\n{LONG}more"})
    assert nothing["why"] == "2 prompts are too long: the longest has 901 tokens; sandbox reads 448."
    assert (nothing["added"], nothing["first"]) == (0, None)


def test_a_prompt_that_became_too_long_is_marked_and_not_the_next_to_answer(context):
    context.model_state = "loading"
    (long, short) = context.store.add_prompts([LONG, "Short one."], "person")
    assert tab.demonstrations(context, ME)["next"] == long.id
    context.model_state = "ready"
    listed = tab.demonstrations(context, ME)
    assert [each["too_long"] for each in listed["prompts"]] == [True, False] and listed["next"] == short.id
    assert tab.open_prompt(context, ME | {"id": long.id})["too_long"].startswith("This prompt is too long: 900 tokens")
    assert tab.skip_prompt(context, ME | {"prompt_id": short.id})["next"] == short.id


def test_while_the_model_loads_prompts_of_any_length_are_kept(context, prompts):
    context.model_state = "loading"
    assert tab.add_prompts(context, ME | {"text": LONG})["added"] == 1


def test_a_prompt_is_deleted_with_its_answers_and_brought_back(context, prompts):
    save(context, prompts[0], "Four.")
    assert tab.delete_prompt(context, ME | {"id": prompts[0].id})["written"] == 0
    listed = tab.demonstrations(context, ME)
    assert [each["id"] for each in listed["prompts"]] == [prompts[1].id, prompts[2].id] and listed["total"] == 2
    assert tab.restore_prompt(context, ME | {"id": prompts[0].id})["written"] == 1
    assert tab.demonstrations(context, ME)["prompts"][0]["answers"] == 1

"""Importing on the page: what is recognised, what is refused, and what the report says."""

import base64
import gzip

import pytest

from tests.pages import Scripted
from workbench.collect.formats import FileError
from workbench.ui import importing
from workbench.ui.context import Refused

ME = {"rater": "you"}


@pytest.fixture
def context(tmp_path):
    page = Scripted(tmp_path)
    yield page
    page.close()


def upload(context, name, content):
    return importing.import_file(context, ME | {"name": name, "data": base64.b64encode(content).decode()})


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
        importing.import_file(context, ME | {"name": "big.jsonl", "data": "A" * int(importing.FILE_MB * 1.4e6 + 4)})


def test_a_torn_upload_is_refused(context):
    with pytest.raises(Refused, match="did not arrive complete"):
        importing.import_file(context, ME | {"name": "a.jsonl", "data": "%%%"})


def test_the_report_counts_what_was_there_already_and_names_at_most_twenty_rows(context):
    good = b'{"prompt": "Name a fruit.", "completion": "Apple."}\n'
    assert upload(context, "a.jsonl", good)["known"] == 0
    report = upload(context, "a.jsonl", good + b"not json\n" * 30)
    assert (report["added"], report["known"], len(report["bad"]), report["bad_total"]) == (0, 1, 20, 30)
    assert (report["notes"], report["notes_total"]) == ([], 0)

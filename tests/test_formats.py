"""Files in and out: every format, every kind of damage, and round trips without loss."""

import csv
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.collect.files import LIMIT_MB, read_rows
from workbench.collect.formats import EXPORTS, Bad, FileError, import_file, inside, read, write
from workbench.collect.turns import from_text, to_messages, to_text
from workbench.records import Comparison, Demonstration, Prompt, Response, Sampling, split_of
from workbench.store import Store

SAMPLES = Path(__file__).parent.parent / "sample_data"
REAL = Path(__file__).parent.parent.parent / "shared" / "real"
PAIR = {"prompt": "What is a cat?", "chosen": "An animal.", "rejected": "No idea."}
USER = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello!"}


def file(folder: Path, content: bytes | str | list, name: str = "rows.jsonl") -> Path:
    path = folder / name
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def only(folder: Path, row: dict):
    """The records of one row that must be good, or the reason why it is not."""
    imported = read(file(folder, [row]))
    return imported.rows if not imported.bad else imported.bad[0].reason


# What the formats mean


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        ({"prompt": "Hi", "completion": "Hello!"}, "Hi", "Hello!"),
        ({"prompt": [USER], "completion": [HELLO]}, "Hi", "Hello!"),
        ({"messages": [USER, HELLO]}, "Hi", "Hello!"),
        ({"instruction": "Hi", "input": "", "output": "Hello!"}, "Hi", "Hello!"),
        ({"instruction": "Add.", "input": "1 and 2", "output": "3"}, "Add.\n\n1 and 2", "3"),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}, "Hi", "Hello!"),
        (
            {"messages": [USER, HELLO, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}]},
            "Human: Hi\n\nAssistant: Hello!\n\nHuman: Sure?",
            "Yes.",
        ),
        (
            {
                "system": "Be short.",
                "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}],
            },
            "System: Be short.\n\nHuman: Hi",
            "Hello!",
        ),
    ],
)
def test_demonstrations(tmp_path: Path, row: dict, prompt: str, answer: str):
    (record,) = only(tmp_path, row)
    assert (record.prompt, record.text, record.source) == (prompt, answer, "import:rows.jsonl")


def test_one_self_instruct_task_gives_one_demonstration_per_instance(tmp_path: Path):
    instances = [{"input": "1 and 2", "output": "3"}, {"input": "", "output": "Which numbers?"}]
    records = only(tmp_path, {"id": "t", "instruction": "Add.", "instances": instances, "is_classification": False})
    assert [(row.prompt, row.text) for row in records] == [("Add.\n\n1 and 2", "3"), ("Add.", "Which numbers?")]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        (PAIR, "What is a cat?"),
        ({"prompt": [USER], "chosen": [HELLO], "rejected": [{"role": "assistant", "content": "What?"}]}, "Hi"),
        (
            {"prompt": "Hi", "chosen": [USER, HELLO], "rejected": [USER, {"role": "assistant", "content": "What?"}]},
            "Hi",
        ),
        ({"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": "Hello!", "rejected": "What?"}, "Hi"),
        ({"chosen": [USER, HELLO], "rejected": [USER, {"role": "assistant", "content": "What?"}]}, "Hi"),
        ({"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"}, "Hi"),
        (
            {
                "chosen": "\n\nHuman: Hi\n\nAssistant: Hm\n\nHuman: Well?\n\nAssistant: A",
                "rejected": "\n\nHuman: Hi\n\nAssistant: Hm\n\nHuman: Well?\n\nAssistant: B",
            },
            "Human: Hi\n\nAssistant: Hm\n\nHuman: Well?",
        ),
    ],
)
def test_comparisons(tmp_path: Path, row: dict, prompt: str):
    (record,) = only(tmp_path, row)
    assert isinstance(record, Comparison) and record.prompt == prompt
    ((better, worse),) = record.pairs()
    assert better.text in (PAIR["chosen"], "Hello!", "A") and worse.text in (PAIR["rejected"], "What?", "B")


@pytest.mark.parametrize(
    ("preference", "groups"),
    [
        (1, ((1,), (2,))),
        (1.49, ((1,), (2,))),
        (2.0, ((2,), (1,))),
        (1.51, ((2,), (1,))),
        (1.5, ((1, 2),)),
        (0, ((1, 2),)),
        ("1.5", ((1, 2),)),
    ],
)
def test_alpaca_eval_preferences(tmp_path: Path, preference, groups):
    row = {
        "instruction": "Hi",
        "output_1": "a",
        "output_2": "b",
        "generator_1": "x",
        "generator_2": "y",
        "annotator": "judge",
    }
    (record,) = only(tmp_path, row | {"preference": preference})
    assert record.groups == groups and record.rater == "judge"
    assert [response.model for response in record.responses] == ["x", "y"]


@pytest.mark.parametrize(
    ("preference", "reason"), [(None, "not judged"), (3, "from 1"), ("nan", "not judged"), ("A", "not judged")]
)
def test_alpaca_eval_without_a_usable_preference(tmp_path: Path, preference, reason):
    row = {"instruction": "Hi", "output_1": "a", "output_2": "b", "preference": preference}
    assert reason in only(tmp_path, row)


def test_transcripts_and_turns_round_trip():
    for prompt in (
        "Hi",
        "Human: is a word",
        "Human: Hi\n\nAssistant: Hello!\n\nHuman: Sure?",
        "System: Short.\n\nHuman: a\n\nb",
    ):
        assert to_text(from_text(prompt)) == prompt
    assert to_messages("Human: Hi\n\nAssistant: Hello!\n\nHuman: a\n\nb")[-1] == {"role": "user", "content": "a\n\nb"}
    assert to_messages("Human: is a word") == [{"role": "user", "content": "Human: is a word"}]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "completion": "b", "label": "toxic"}, "the label must be true (a good answer) or false"),
        ({"prompt": "a", "completion": "", "label": True}, "the completion is empty"),
        ({"messages": [USER]}, "ends with the user's turn"),
        ({"messages": [HELLO]}, "no user turn"),
        ({"messages": [{"role": "tool", "content": "x"}, HELLO]}, "the role 'tool'"),
        ({"messages": []}, "not empty"),
        ({"instruction": "a", "instances": []}, "not empty"),
        ({"chosen": "Human: a", "rejected": "Human: b"}, "not a transcript"),
        ({"chosen": [USER, HELLO], "rejected": [{"role": "user", "content": "Ho"}, HELLO]}, "differ before"),
        ({"prompt": [USER], "chosen": [HELLO], "rejected": [USER]}, "one message of the assistant"),
        ({"prompt": "q", "responses": [{"text": "a", "model": "m"}], "groups": [[0]], "shown": [0]}, "two or more"),
        ({"prompt": "q", "responses": [{"text": "a"}] * 2, "groups": [[0], [1]], "shown": [0, 1]}, "model"),
    ],
)
def test_rows_that_say_nothing_usable(tmp_path: Path, row: dict, reason: str):
    assert reason in only(tmp_path, row)


@pytest.mark.parametrize(("label", "acceptable"), [(True, 1), (False, 0), ("true", 1), ("0", 0), (1.0, 1)])
def test_an_answer_with_a_label_is_a_comparison_of_one(tmp_path: Path, label, acceptable: int):
    (record,) = only(tmp_path, {"prompt": [USER], "completion": [HELLO], "label": label, "rater": "ada"})
    assert (record.prompt, record.responses[0].text, record.rater) == ("Hi", "Hello!", "ada")
    assert (record.groups, record.shown, record.acceptable, record.pairs()) == (((1,),), (1,), acceptable, [])


def test_labelled_answers_come_back_as_they_were(store: Store, tmp_path: Path):
    rows = [{"prompt": f"q{i}", "completion": "same words", "label": i % 2 == 0} for i in range(4)]
    path = file(tmp_path, rows)
    report = import_file(store, path)
    assert (report.kind, report.format, report.added) == ("comparisons", "unpaired", 4)
    assert import_file(store, path).known == 4
    for format in ("unpaired", "native"):
        out = tmp_path / f"{format}.jsonl"
        assert write(store, "comparisons", out, format) == 4
        copy = read(out)
        assert [(c.prompt, c.responses[0].text, c.acceptable == 1) for c in copy.rows] == [
            (row["prompt"], row["completion"], row["label"]) for row in rows
        ]
    good = read(path, as_="demonstrations")
    assert [d.prompt for d in good.rows] == ["q0", "q2"] and "judged bad" in good.bad[0].reason


# Choosing the kind and the format


def test_kind_and_format_can_be_given(tmp_path: Path):
    path = file(tmp_path, [PAIR])
    assert read(path, as_="prompts").rows == [Prompt(0, PAIR["prompt"], "import:rows.jsonl")]
    (demonstration,) = read(path, as_="demonstrations").rows
    assert isinstance(demonstration, Demonstration) and demonstration.text == PAIR["chosen"]
    with pytest.raises(FileError, match="comparisons cannot be made"):
        read(file(tmp_path, [{"prompt": "a", "completion": "b"}]), as_="comparisons")
    with pytest.raises(FileError, match="--as books"):
        read(path, as_="books")
    with pytest.raises(FileError, match="choose one of native"):
        read(path, format="xml")
    assert (
        read(file(tmp_path, [PAIR]), format="alpaca")
        .bad[0]
        .reason.startswith("the columns instruction, output are missing")
    )


def test_the_format_most_rows_have_is_taken(tmp_path: Path):
    rows = [{"prompt": "a", "completion": "b"}, PAIR, PAIR | {"prompt": "another"}]
    imported = read(file(tmp_path, rows))
    assert (imported.kind, imported.format, len(imported.rows)) == ("comparisons", "trl", 2)
    assert imported.bad == [Bad(1, imported.bad[0].reason)] and "chosen, rejected are missing" in imported.bad[0].reason


def test_unknown_columns_are_listed(tmp_path: Path):
    with pytest.raises(
        FileError,
        match=r"^Columns a, b not recognised. Pairs need prompt, chosen, rejected. All formats: .*--map prompt=a ",
    ):
        read(file(tmp_path, [{"a": 1, "b": 2}]))


# Fault 22 and 23: damage


def test_every_bad_line_is_named_and_every_good_row_kept(tmp_path: Path):
    good = [json.dumps(PAIR | {"id": 7, "prompt": f"q{n}"}).encode() for n in range(4)]
    lines = [
        good[0],  # 1
        b'{"prompt": "broken", ',  # 2
        good[1],  # 3
        b"",  # 4
        b'{"prompt": "a\0b", "chosen": "c", "rejected": "d"}',  # 5
        b'"just text"',  # 6
        b'{"prompt": "q", "answer": "wrong columns"}',  # 7
        good[0],  # 8: again
        b'{"prompt": "\xff", "chosen": "c", "rejected": "d"}',  # 9
        json.dumps(PAIR | {"rejected": PAIR["chosen"]}).encode(),  # 10
        json.dumps(PAIR | {"rejected": "  "}).encode(),  # 11
        json.dumps(PAIR | {"chosen": "word " * 100_000}).encode(),  # 12
        json.dumps(PAIR | {"chosen": 5}).encode(),  # 13
        json.dumps(PAIR | {"prompt": "\ud800"}).encode(),  # 14
        b"[" * 100_000,  # 15
        good[2],  # 16
        json.dumps(PAIR | {"prompt": "a\0b"}).encode(),  # 17: an escaped NUL
        good[3],  # 18: without a line end
    ]
    imported = read(file(tmp_path, b"\xef\xbb\xbf" + b"\r\n".join(lines)))
    assert [row.prompt for row in imported.rows] == ["q0", "q1", "q2", "q3"]
    reasons = {bad.line: bad.reason for bad in imported.bad}
    expected = {
        2: "not valid JSON",
        5: "NUL",
        6: "must be an object",
        7: "chosen, rejected are missing",
        8: "the same as line 1",
        9: "not UTF-8",
        10: "identical",
        11: "the rejected answer is empty",
        12: "500,000 characters",
        13: "must be text, not int",
        14: "half a character",
        15: "JSON",
        17: "NUL",
    }
    assert reasons.keys() == expected.keys()
    for line, reason in expected.items():
        assert reason in reasons[line], (line, reasons[line])
    assert [note.line for note in imported.notes] == [3, 16, 18]  # one id, other content: kept, and told


def test_a_broken_json_list_keeps_what_stands_before(tmp_path: Path):
    text = json.dumps([PAIR, PAIR | {"prompt": "b"}], indent=1)
    assert len(read(file(tmp_path, text, "a.json")).rows) == 2
    imported = read(file(tmp_path, text[:-30], "a.json"))
    assert len(imported.rows) == 1 and "from here on" in imported.bad[0].reason and imported.bad[0].line == 7
    imported = read(file(tmp_path, text.replace("},", "}"), "a.json"))
    assert len(imported.rows) == 1 and "comma" in imported.bad[0].reason
    assert len(read(file(tmp_path, json.dumps({"version": 1, "data": [PAIR]}), "a.json")).rows) == 1
    assert len(read(file(tmp_path, json.dumps({"messages": [USER, HELLO]}), "a.json")).rows) == 1


def test_damaged_csv(tmp_path: Path):
    text = '\ufeffprompt,chosen,rejected\r\n"two\nlines",a,b\r\nq,only one\r\n\r\nq3,c,"say ""no"""\r\n'
    imported = read(file(tmp_path, text, "a.csv"))
    assert [(row.prompt, row.responses[1].text) for row in imported.rows] == [("two\nlines", "b"), ("q3", 'say "no"')]
    assert [(bad.line, "2 cells under 3" in bad.reason) for bad in imported.bad] == [(4, True)]
    assert len(read(file(tmp_path, "prompt;completion\na;b\n", "a.csv")).rows) == 1
    with pytest.raises(FileError, match="each column once"):
        read(file(tmp_path, "prompt,prompt\na,b\n", "a.csv"))


def test_utf16_from_a_spreadsheet_is_read(tmp_path: Path):
    (row,) = read(file(tmp_path, "prompt\tcompletion\r\nGrüße?\tHallo!\r\n".encode("utf-16"), "a.csv")).rows
    assert (row.prompt, row.text) == ("Grüße?", "Hallo!")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.zip", b"PK", "unpack archives first"),
        ("a.jsonl", b" \n", "is empty"),
        ("a.jsonl", b"nonsense\n", "No line of the file could be read: line 1"),
        ("a.parquet", b"PAR1nonsense", "not a readable Parquet"),
        ("a.json", b"nonsense", "JSON"),
        ("a.csv", b"prompt,completion\n", "holds no rows"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, content: bytes, reason: str):
    with pytest.raises(FileError, match=reason):
        read(file(tmp_path, content, name))


def test_places_that_are_no_files(tmp_path: Path):
    (tmp_path / "folder.jsonl").mkdir()
    for path, reason in [
        (tmp_path / "none.jsonl", "no such file"),
        (tmp_path / "folder.jsonl", "not a plain file"),
        ("a\0b.jsonl", "NUL"),
        ("\\\\server\\share\\a.jsonl", "another machine"),
        ("//server/share/a.jsonl", "another machine"),
    ]:
        with pytest.raises(FileError, match=reason):
            read(path)


def test_a_file_over_the_limit_is_refused(tmp_path: Path):
    """Fault 21, also for a Parquet file of a few kilobytes that unpacks to a hundred times its size."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert LIMIT_MB == 200
    path = file(tmp_path, [PAIR] * 200)
    with pytest.raises(FileError, match=r"larger than 0\.01 MB"):
        read(path, limit_mb=0.01)
    bomb = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"prompt": ["x" * 90_000] * 2000, "completion": [str(n) for n in range(2000)]}), bomb)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(FileError, match="unpacks to more"):
        read(bomb, limit_mb=1)


@pytest.mark.parametrize(
    "name", ["../a", "/etc/a", "a/b", "a\\b", "C:a", "a\0b", "..", "", "a\nb", "x" * 300, "\\\\server\\a"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str):
    with pytest.raises(FileError):
        inside(tmp_path, name)


def test_a_link_is_refused(tmp_path: Path, store: Store):
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileError, match="link"):
        inside(tmp_path, "link.jsonl")
    with pytest.raises(FileError, match="link"):
        write(store, "prompts", tmp_path / "link.jsonl")
    assert inside(tmp_path, "my votes-2.jsonl") == tmp_path / "my votes-2.jsonl"


# Storing


def test_importing_again_adds_nothing(tmp_path: Path, store: Store):
    path = file(tmp_path, [PAIR, PAIR | {"prompt": "b"}, {"prompt": "c"}])
    report = import_file(store, path, rater="ada", name="C:\\folder\\votes.jsonl")
    assert (report.added, report.known, len(report.bad), report.file) == (2, 0, 1, "votes.jsonl")
    assert "line 3: left out" in str(report) and "2 new comparisons" in str(report)
    assert {(row.rater, row.source) for row in store.comparisons()} == {("ada", "import:votes.jsonl")}
    report = import_file(store, path, rater="ada")
    assert (report.added, report.known) == (0, 2)
    assert store.counts()["comparisons"] == 2


def test_the_file_says_who_and_whether_simulated(tmp_path: Path, store: Store):
    import_file(store, file(tmp_path, [PAIR | {"rater": "simulated rater 3", "simulated": True}]))
    import_file(store, file(tmp_path, "prompt,completion,simulated\na,b,True\nc,d,False\n", "a.csv"))
    assert store.counts()["simulated_comparisons"] == 1 == store.counts()["simulated_demonstrations"]
    assert store.comparisons()[0].rater == "simulated rater 3"


# Answers judged step by step

MATHS = {"prompt": "3 + 4 - 2?", "completions": ["3 + 4 = 7.", "7 - 2 = 6."], "labels": [True, False]}


def test_trl_steps_are_right_or_wrong_and_stand_on_lines_of_their_own(tmp_path: Path):
    (row,) = only(tmp_path, MATHS)
    assert (row.prompt, row.steps, row.labels) == ("3 + 4 - 2?", ("3 + 4 = 7.", "\n7 - 2 = 6."), (1, -1))
    (row,) = only(tmp_path, MATHS | {"completions": ["So 7", ", then 6."], "labels": [0, -1], "rater": "ada"})
    assert (row.answer, row.labels, row.rater) == ("So 7, then 6.", (0, -1), "ada")
    (row,) = only(tmp_path, {"prompt": "q", "steps": ["a", "b"], "labels": [1, 0], "simulated": True})
    assert (row.answer, row.simulated) == ("ab", True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": [True]}, "there are 2 steps, but 1 labels"),
        ({"labels": [True, 2]}, "the label of step 2 must be true, false, -1, 0 or 1, not '2'"),
        ({"labels": [True, None]}, "the label of step 2"),
        ({"labels": "[True, False]"}, "the labels must be a list"),
        ({"completions": ["a", " "]}, "step 2 is empty"),
        ({"completions": ["a", 7]}, "step 2 must be text, not int"),
        ({"completions": [], "labels": []}, "there are 0 steps"),
        ({"prompt": ""}, "the prompt is empty"),
    ],
)
def test_bad_steps_are_named(tmp_path: Path, change: dict, reason: str):
    imported = read(file(tmp_path, [MATHS, MATHS | change, MATHS | {"prompt": "another"}]))
    assert len(imported.rows) == 2 and imported.kind == "steps"
    ((line, message),) = [(bad.line, bad.reason) for bad in imported.bad]
    assert line == 2 and reason in message


def test_a_zero_where_nothing_is_wrong_is_asked_about(tmp_path: Path):
    rows = [MATHS | {"labels": [1, 1]}, MATHS | {"labels": [1, 0]}]
    (note,) = read(file(tmp_path, rows)).notes
    assert note.line == 2 and "0 is read as neutral" in note.reason
    assert read(file(tmp_path, [*rows, MATHS | {"labels": [1, -1]}])).notes == []


def rating_of(text: str, rating: int | None) -> dict:
    return {"text": text, "rating": rating, "flagged": False}


def step(completions: list, chosen: int | None, human: dict | None = None) -> dict:
    return {"completions": completions, "chosen_completion": chosen, "human_completion": human}


def test_prm800k_gives_every_rated_way(tmp_path: Path):
    steps = [
        step([rating_of("A", 1)], 0),
        step([rating_of("B", -1), rating_of("C", 0), rating_of("?", None)], 1),
        step([rating_of("D", -1)], None, {"text": "E"}),
        step([rating_of("F", -1)], None),
    ]
    row = {"labeler": "ann", "question": {"problem": "q"}, "label": {"steps": steps}}
    imported = read(file(tmp_path, [row]))
    assert (imported.kind, imported.format, imported.bad) == ("steps", "prm800k", [])
    assert [(each.steps, each.labels) for each in imported.rows] == [
        (("A", "\nB"), (1, -1)),
        (("A", "\nC", "\nD"), (1, 0, -1)),
        (("A", "\nC", "\nE", "\nF"), (1, 0, 1, -1)),
    ]
    assert {each.rater for each in imported.rows} == {"ann"}
    row["label"]["steps"] = steps[:2]
    assert [each.steps for each in read(file(tmp_path, [row])).rows] == [("A", "\nB"), ("A", "\nC")]
    row["label"]["steps"] = [step([rating_of("A", None)], 0)]
    assert "no step of it was rated" in only(tmp_path, row)
    row["label"]["steps"] = [{"completions": [{}]}]
    assert "step 1 is not as in PRM800K" in only(tmp_path, row)


def test_step_labels_are_stored_and_only_their_prompts_can_be_taken_alone(tmp_path: Path, store: Store):
    path = file(tmp_path, [MATHS, MATHS])
    report = import_file(store, path)
    assert (report.added, [bad.reason for bad in report.bad]) == (1, ["the same as line 1"])
    assert "1 new answer with labelled steps (trl)" in str(report)
    assert store.step_labels()[0].source == "import:rows.jsonl"
    assert import_file(store, path).known == 1
    assert [row.text for row in read(path, as_="prompts").rows] == ["3 + 4 - 2?"]
    with pytest.raises(FileError, match="comparisons cannot be made from them"):
        read(path, as_="comparisons")


def test_trl_reads_exported_steps(full: Store, tmp_path: Path):
    from datasets import load_dataset

    write(full, "steps", tmp_path / "a.jsonl")
    path, cache = str(tmp_path / "a.jsonl"), str(tmp_path / "cache")
    loaded = load_dataset("json", data_files=path, split="train", cache_dir=cache)
    assert loaded[0]["labels"] == [True, True, False] and loaded[0]["ratings"] == [1, 0, -1]
    assert len(loaded[0]["completions"]) == 3


# Round trips

NASTY = [
    "=1+1",
    "'=1+1",
    "''",
    "@sum",
    "-5",
    "+49",
    "\tindented",
    "comma, \"quote\" and 'quote'",
    "two\nlines\r\nthree",
    "[1, 2, 3]",
    '[{"a": 1}]',
    "Grüße 🙂 \u2028 end",
    "  spaces  ",
    "null",
    "<script>alert(1)</script>",
]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Rankings with ties, nasty words, simulated and real raters; the tests only read it."""
    store = Store(tmp_path_factory.mktemp("full") / "workbench.db")
    prompts = store.add_prompts(
        [f"Say {text}" for text in NASTY] + ["Human: Hi\n\nAssistant: Yes?\n\nHuman: =2"], "person"
    )
    for number, prompt in enumerate(prompts):
        text = NASTY[number % len(NASTY)]
        store.add_demonstration(prompt.id, text, "ada" if number % 2 else "simulated rater", simulated=not number % 2)
        sampling = Sampling(0.7, 0.9, 32, number) if number % 3 else None
        answers = store.add_responses(
            [Response(0, prompt.id, f"{text}{n}", "tiny", n or None, sampling) for n in range(3)]
        )
        a, b, c = (answer.id for answer in answers)
        groups = [[[b], [a], [c]], [[a, c], [b]], [[a, b, c]]][number % 3]
        store.add_comparison(
            prompt.id, answers, groups, [c, a, b], "bob", number % 2 or None, seconds=number / 7, why=text
        )
        steps = [text, f" {text}.", "\nand so on"]
        labels = [[1, 0, -1], [-1, 1, 1], [0, 0, 1]][number % 3]
        store.add_step_labels(prompt.id, steps, labels, "ada", simulated=not number % 2, seconds=number / 7 or None)
    yield store
    store.close()


def rows_of(path: Path) -> list[dict]:
    return [item[1] for item in read_rows(path) if isinstance(item, tuple)]


def without_ids(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "comparison"} for row in rows]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "json", "csv"])
@pytest.mark.parametrize(("what", "format"), [(what, each) for what in EXPORTS for each in EXPORTS[what]])
def test_export_and_import_lose_nothing(full: Store, tmp_path: Path, what: str, format: str, suffix: str):
    """What is exported, imported into an empty workspace and exported again is the same, row by row."""
    first, second = tmp_path / f"first.{suffix}", tmp_path / f"second.{suffix}"
    written = write(full, what, first, format)
    with Store(tmp_path / "other.db") as other:
        report = import_file(other, first)
        assert report.bad == [] and report.kind == what and written > 0
        write(other, what, second, format)
    before, after = without_ids(rows_of(first)), without_ids(rows_of(second))
    if what == "comparisons" and format != "native":  # pairs of one ranking come back as judgements of their own
        for row in before + after:
            row.pop("weight", None)
    if format == "hh-rlhf":  # its transcripts cannot tell outer spaces of an answer from the layout
        assert [row["chosen"].split() for row in after] == [row["chosen"].split() for row in before]
    else:
        assert after == before


def test_a_prompt_of_our_own_that_looks_like_a_whole_conversation_comes_back(store: Store, tmp_path: Path):
    store.add_prompts(["Human: Hi\n\nAssistant: Hello!", "Say ### Response: twice"], "person")
    write(store, "prompts", tmp_path / "a.jsonl")
    assert [row.text for row in read(tmp_path / "a.jsonl").rows] == [prompt.text for prompt in store.prompts()]


def test_native_comparisons_come_back_as_they_were(full: Store, tmp_path: Path):
    write(full, "comparisons", tmp_path / "all.jsonl", "native")
    with Store(tmp_path / "other.db") as other:
        import_file(other, tmp_path / "all.jsonl")
        for old, new in zip(full.comparisons(), other.comparisons(), strict=True):
            ids = dict(zip([r.id for r in new.responses], [r.id for r in old.responses], strict=True))
            assert [[ids[id] for id in group] for group in new.groups] == [list(group) for group in old.groups]
            assert [ids[id] for id in new.shown] == list(old.shown)
            for name in ("prompt", "acceptable", "rater", "simulated", "seconds", "why", "question", "source"):
                assert getattr(new, name) == getattr(old, name)
            for response, copy in zip(old.responses, new.responses, strict=True):
                names = ("text", "model", "run", "sampling", "strength", "tokens", "ended", "author")
                assert [getattr(response, name) for name in names] == [getattr(copy, name) for name in names]


def test_no_cell_of_a_csv_runs_in_a_spreadsheet(full: Store, tmp_path: Path):
    """Fault 28: neutralised in CSV, exact in JSONL."""
    write(full, "demonstrations", tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as cells:
        assert not [
            cell for row in csv.reader(cells) for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))
        ]
    write(full, "demonstrations", tmp_path / "a.jsonl")
    assert [row["completion"] for row in rows_of(tmp_path / "a.jsonl")][: len(NASTY)] == NASTY


def test_exports_say_split_and_simulated(full: Store, tmp_path: Path):
    for what, formats in EXPORTS.items():
        for format in formats:
            write(full, what, tmp_path / "a.jsonl", format)
            rows = rows_of(tmp_path / "a.jsonl")
            assert all(row["split"] in ("train", "heldout") and isinstance(row["simulated"], bool) for row in rows)
    write(full, "demonstrations", tmp_path / "a.jsonl")
    assert {row["rater"]: row["simulated"] for row in rows_of(tmp_path / "a.jsonl")} == {
        "ada": False,
        "simulated rater": True,
    }


def test_exports_are_what_trl_reads(full: Store, tmp_path: Path):
    from datasets import load_dataset

    write(full, "comparisons", tmp_path / "a.jsonl", "conversational")
    loaded = load_dataset(
        "json", data_files=str(tmp_path / "a.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert {"prompt", "chosen", "rejected"} <= set(loaded.column_names)
    assert loaded[-1]["prompt"][-1]["role"] == "user" and loaded[0]["chosen"][0]["role"] == "assistant"


def test_a_failed_export_leaves_the_old_file(full: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from workbench.collect import saving

    write(full, "prompts", tmp_path / "a.jsonl")
    before = (tmp_path / "a.jsonl").read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving.os, "fsync", full_disk)
    with pytest.raises(FileError, match="No space left"):
        write(full, "comparisons", tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == before
    assert list(tmp_path.glob("*.part")) == []


def test_what_cannot_be_exported_is_said(store: Store, tmp_path: Path):
    with pytest.raises(FileError, match="cannot be exported"):
        write(store, "books", tmp_path / "a.jsonl")
    with pytest.raises(FileError, match="alpaca"):
        write(store, "demonstrations", tmp_path / "a.jsonl", "xml")
    with pytest.raises(FileError, match="must end in"):
        write(store, "prompts", tmp_path / "a.xml")
    assert write(store, "prompts", tmp_path / "a.jsonl") == 0 and (tmp_path / "a.jsonl").exists()


# The files that come with the workbench, and the real ones


@pytest.mark.parametrize(
    "path", sorted(path for path in SAMPLES.iterdir() if path.suffix != ".md"), ids=lambda path: path.name
)
def test_sample_data(path: Path, store: Store):
    """Imports completely, as the table of its README says, and never touches a held-out prompt."""
    report = import_file(store, path)
    assert not report.bad and report.added == report.known + report.added >= 10
    assert report.kind in path.name
    assert all(split_of(prompt.text) == "train" for prompt in store.prompts())
    (line,) = [
        line for line in (SAMPLES / "README.md").read_text().splitlines() if line.startswith(f"| `{path.name}` |")
    ]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert (cells[1], cells[2], int(cells[4].replace(",", "").split()[0])) == (report.kind, report.format, report.added)


def test_sample_ties_are_ties(store: Store):
    import_file(store, SAMPLES / "comparisons_alpaca_eval.json")
    assert sum(len(row.groups) == 1 for row in store.comparisons()) == 2


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder ../shared/real with real data is not there")
def test_real_data_imports_completely(store: Store):
    report = import_file(store, REAL / "alpaca_eval_pairs.jsonl")
    assert (report.kind, report.format, report.added, report.bad) == ("comparisons", "alpacaeval", 805, [])
    ties = [row for row in store.comparisons() if len(row.groups) == 1]
    assert len(ties) == 1  # the one row with a preference of exactly 1.5
    report = import_file(store, REAL / "self_instruct_seed_tasks.jsonl")
    assert (report.kind, report.format, report.added, report.bad) == ("demonstrations", "self-instruct", 175, [])
    assert sqlite3.connect(store.where).execute("PRAGMA integrity_check").fetchone() == ("ok",)

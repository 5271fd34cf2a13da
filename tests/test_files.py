"""Containers: told by their content, read in pieces, unpacked within a limit; and the links that are not followed."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import zstandard

from workbench.cli import main as cli
from workbench.collect import importing
from workbench.collect.files import read_rows
from workbench.collect.formats import FileError, read
from workbench.collect.parquet_rows import rows as parquet_rows
from workbench.collect.reading import Bad, Remark

ROWS = [{"prompt": "Q1?", "chosen": "yes", "rejected": "no"}, {"prompt": "Q2?", "chosen": "yes", "rejected": "no"}]
ONE, TWO = (json.dumps(row) for row in ROWS)
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
PACKERS = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": zstandard.compress}


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [each[1] for each in read_rows(path, **options) if isinstance(each, tuple)]


def pairs(path: Path) -> list[tuple[str, str, str]]:
    imported = read(path)
    assert imported.bad == []
    return [(row.prompt, row.responses[0].text, row.responses[1].text) for row in imported.rows]


JSON = {
    "one a line": f"{ONE}\n{TWO}\n",
    "CRLF": f"{ONE}\r\n{TWO}\r\n",
    "a mark at the beginning": f"\ufeff{ONE}\n{TWO}\n",
    "commas after the lines": f"{ONE},\n{TWO},\n",
    "several on a line": f"{ONE} {TWO}",
    "over several lines": "\n".join(json.dumps(row, indent=1) for row in ROWS),
    "over several lines, with commas": ",\n".join(json.dumps(row, indent=1) for row in ROWS),
    "a list": json.dumps(ROWS, indent=1),
    "a list on one line": json.dumps(ROWS),
    "a list with a comma at its end": f"[{ONE},\n{TWO},\n]",
    "two lists": f"[{ONE}]\n[{TWO}]\n",
    "columns": json.dumps(COLUMNS),
    "columns by index": json.dumps({name: dict(enumerate(cells)) for name, cells in COLUMNS.items()}),
    "rows by index": json.dumps(dict(enumerate(ROWS))),
    "pandas, split": json.dumps({"columns": list(COLUMNS), "index": [0, 1], "data": [list(r.values()) for r in ROWS]}),
    "pandas, table": json.dumps({"schema": {"fields": []}, "data": ROWS}),
    "splits": json.dumps({"train": ROWS[:1], "test": ROWS[1:]}),
    "the datasets server": json.dumps({"features": [{"name": "x"}], "rows": [{"row_idx": 0, "row": r} for r in ROWS]}),
    "UTF-16": f"{ONE}\n{TWO}\n".encode("utf-16"),
}


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv"])
@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
def test_json_is_told_by_its_content_whatever_the_name_says(tmp_path: Path, content: str | bytes, suffix: str):
    assert pairs(put(tmp_path, f"a.{suffix}", content)) == [("Q1?", "yes", "no"), ("Q2?", "yes", "no")]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        {"instruction": "Q", "completions": [{"response": "a", "score": 1}, {"response": "b", "score": 2}]},
        {"prompt": ["Q"], "chosen": ["a"], "rejected": ["b"]},
        {
            **{"context": [{"role": "user", "content": "Q"}], "response1": "a", "response2": "b"},
            **{"overall_preference": 1, "individual_preference": [{"score": 1}]},
        },
    ],
)
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_a_file_of_one_row_is_that_row_and_not_the_lists_in_it(tmp_path: Path, row: dict[str, Any], suffix: str):
    imported = read(put(tmp_path, f"a.{suffix}", json.dumps(row)))
    assert len(imported.rows) == 1 and imported.rows[0].prompt == "Q" and imported.bad == []


def test_lines_end_with_a_line_feed_and_with_nothing_else(tmp_path: Path):
    row = {"prompt": "Q\u2028\u2029\x85\x0b\x0c?", "completion": "A\u2028"}
    (record,) = read(put(tmp_path, "a.jsonl", json.dumps(row, ensure_ascii=False) + "\n")).rows
    assert (record.prompt, record.text) == (row["prompt"], row["completion"])


def test_nan_is_nothing(tmp_path: Path):
    (row,) = read(put(tmp_path, "a.jsonl", '{"prompt": "Q", "chosen": "a", "rejected": "b", "score": NaN}\n')).rows
    assert row.prompt == "Q"
    imported = read(put(tmp_path, "a.jsonl", f'{ONE}\n{{"prompt": "Q", "chosen": "a", "rejected": NaN}}\n'))
    assert [(bad.line, "rejected is missing" in bad.reason) for bad in imported.bad] == [(2, True)]
    assert [row.text for row in read(put(tmp_path, "b.jsonl", '{"prompt": "Q", "votes": NaN}\n')).rows] == ["Q"]


def test_a_row_longer_than_the_pieces_that_are_read_and_one_cut_between_them(tmp_path: Path):
    rows = [{"prompt": f"Q{n}\\\n\u00e9\U0001f642" + "x" * 70_000, "completion": str(n)} for n in range(4)]
    for content in (json.dumps(rows), "\n".join(json.dumps(row, indent=2) for row in rows)):
        assert rows_of(put(tmp_path, "a.json", content)) == rows


def test_a_broken_place_in_a_list_keeps_what_stands_before_and_says_where_it_is(tmp_path: Path):
    items = list(read_rows(put(tmp_path, "a.json", f"[{ONE},\n{TWO}\n")))
    assert (
        items[:2] == [(1, ROWS[0]), (2, ROWS[1])] and "closing ] is missing" in items[2].reason and items[2].line == 3
    )
    items = list(read_rows(put(tmp_path, "a.json", f"[{ONE}]\nrest")))
    assert items[1] == Bad(2, "text after the end of the list was not read")


def test_a_python_dict_is_named_as_one(tmp_path: Path):
    with pytest.raises(FileError, match=r"a Python dict \(single quotes\)"):
        read(put(tmp_path, "a.jsonl", "{'prompt': 'Q'}\n"))


CSV = {
    "RFC 4180": "prompt,chosen,rejected\r\nQ1?,yes,no\r\nQ2?,yes,no\r\n",
    "old Mac": "prompt,chosen,rejected\rQ1?,yes,no\rQ2?,yes,no\r",
    "capitals": "Prompt,CHOSEN, Rejected \nQ1?,yes,no\nQ2?,yes,no\n",
    "semicolons": "prompt;chosen;rejected\nQ1?;yes;no\nQ2?;yes;no\n",
    "sep=": "sep=;\r\nprompt;chosen;rejected\r\nQ1?;yes;no\r\nQ2?;yes;no\r\n",
    "tabs": "prompt\tchosen\trejected\nQ1?\tyes\tno\nQ2?\tyes\tno\n",
    "bars": "prompt|chosen|rejected\nQ1?|yes|no\nQ2?|yes|no\n",
    "empty columns at the end": "prompt,chosen,rejected,,\nQ1?,yes,no,,\nQ2?,yes,no,,\n,,,,\n",
    "an index": ",prompt,chosen,rejected\n0,Q1?,yes,no\n1,Q2?,yes,no\n",
    "UTF-16 of a spreadsheet": "prompt\tchosen\trejected\r\nQ1?\tyes\tno\r\nQ2?\tyes\tno\r\n".encode("utf-16"),
    "UTF-16 without a mark": "prompt,chosen,rejected\r\nQ1?,yes,no\r\nQ2?,yes,no\r\n".encode("utf-16-le"),
    "a mark at the beginning": "\ufeffprompt,chosen,rejected\nQ1?,yes,no\nQ2?,yes,no\n",
}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("content", CSV.values(), ids=CSV)
def test_csv_as_programs_write_it(tmp_path: Path, content: str | bytes, suffix: str):
    assert pairs(put(tmp_path, f"a.{suffix}", content)) == [("Q1?", "yes", "no"), ("Q2?", "yes", "no")]


def test_csv_of_windows_is_read_and_said(tmp_path: Path):
    text = "prompt,completion\r\nPrix du th\u00e9?,Trois \u20ac \u2026\r\n"
    imported = read(put(tmp_path, "a.csv", text.encode("cp1252")))
    assert [(row.prompt, row.text) for row in imported.rows] == [("Prix du th\u00e9?", "Trois \u20ac \u2026")]
    assert imported.remarks == ["not UTF-8; read as Windows-1252"]
    mixed = text.encode() + b"th\xe9,a\r\n"  # UTF-8 with one damaged byte costs that line alone
    imported = read(put(tmp_path, "a.csv", mixed))
    assert len(imported.rows) == 1 and [(bad.line, "not UTF-8" in bad.reason) for bad in imported.bad] == [(3, True)]


MESSAGES = [{"role": "user", "content": 'It\'s "so"?'}, {"role": "assistant", "content": "Yes\nit is"}]


@pytest.mark.parametrize("cell", [json.dumps(MESSAGES), repr(MESSAGES)], ids=["JSON", "Python"])
def test_a_list_in_a_cell_is_read_as_one(tmp_path: Path, cell: str):
    doubled = cell.replace('"', '""')
    (row,) = read(put(tmp_path, "a.csv", f'messages,id\n"{doubled}",1\n')).rows
    assert (row.prompt, row.text) == ('It\'s "so"?', "Yes\nit is")


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("['one', 'two']", "must be one answer, not a list of 2"),
        ("[1, 2]", "must be one text or messages|must be one answer"),
        ("[{'role': 'assistant', 'content': 'It''s'}]", "neither JSON nor what Python prints"),
        ("[{'role': 'user', 'content': 'Q'}\n {'role': 'assistant', 'content': 'A'}]", "neither JSON nor what Python"),
        ("['one' 'two']", "neither JSON nor what Python prints"),
    ],
)
def test_a_list_in_a_cell_is_never_stored_as_the_answer(tmp_path: Path, cell: str, reason: str):
    items = list(read_rows(put(tmp_path, "a.csv", f'prompt,completion\nP,[An aside] fine\nQ,"{cell}"\n')))
    imported = read(tmp_path / "a.csv")
    assert [row.text for row in imported.rows] == ["[An aside] fine"]
    assert imported.bad[0].line == 3 and any(each in imported.bad[0].reason for each in reason.split("|")), items


@pytest.mark.parametrize("kind", PACKERS)
def test_packed_files_are_read(tmp_path: Path, kind: str):
    assert pairs(put(tmp_path, f"a.jsonl.{kind}", PACKERS[kind](f"{ONE}\n{TWO}\n".encode())))[1][0] == "Q2?"
    assert pairs(put(tmp_path, f"a.CSV.{kind}", PACKERS[kind](CSV["RFC 4180"].encode())))[1][0] == "Q2?"


@pytest.mark.parametrize("kind", PACKERS)
def test_a_packed_file_that_unpacks_to_too_much_is_refused_before_it_fills_the_memory(tmp_path: Path, kind: str):
    bomb = put(tmp_path, f"a.jsonl.{kind}", PACKERS[kind](f"{ONE}\n".encode() + b" " * 60_000_000))
    assert bomb.stat().st_size < 100_000
    tracemalloc.start()
    with pytest.raises(FileError, match=r"unpacks to more than 4 MB"):
        read(bomb, limit_mb=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000


def test_packed_files_that_are_damaged_or_hide_something_are_refused(tmp_path: Path):
    packed = gzip.compress("".join(ONE.replace("Q1", f"Q{n}") + "\n" for n in range(9999)).encode())
    with pytest.raises(FileError, match="damaged or cut short"):
        read(put(tmp_path, "a.jsonl.gz", packed[:-200]))
    with pytest.raises(FileError, match="holds a gz file"):
        read(put(tmp_path, "a.jsonl.gz", gzip.compress(gzip.compress(ONE.encode()))))
    with pytest.raises(FileError, match="an archive or a spreadsheet"):
        read(put(tmp_path, "a.csv", b"PK\x03\x04 a spreadsheet"))
    huge = lzma.compress(ONE.encode(), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 512 << 20}])
    with pytest.raises(FileError, match=r"cannot be unpacked.*[Mm]emory"):
        read(put(tmp_path, "a.jsonl.xz", huge))


def test_a_file_is_never_held_as_a_whole(tmp_path: Path):
    row = json.dumps({"prompt": "Q" * 1000, "completion": "A" * 1000})
    contents = {"a.jsonl": "\n".join([row] * 10_000), "a.json": f"[{','.join([row] * 10_000)}]"}
    contents["a.csv"] = "prompt,completion\n" + f"{'Q' * 1000},{'A' * 1000}\n" * 10_000
    for name, content in contents.items():
        path = put(tmp_path, name, content)
        tracemalloc.start()
        assert sum(isinstance(each, tuple) for each in read_rows(path)) == 10_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert path.stat().st_size > 19_000_000 and peak < 5_000_000, (name, peak)


def test_a_file_of_junk_is_given_up_before_its_reasons_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert importing.MANY_BAD == 100_000
    monkeypatch.setattr(importing, "MANY_BAD", 1000)
    path = put(tmp_path, "a.jsonl.gz", gzip.compress(f"{ONE}\n".encode() + b"x\n" * 5000))
    with pytest.raises(FileError, match=r"1,000 lines could not be used, 1 could.*line 2: not valid JSON"):
        read(path)
    with pytest.raises(FileError, match=r"1,000 lines could not be used, 0 could.*the prompt is empty"):
        read(put(tmp_path, "b.jsonl", '{"prompt": ""}\n' * 1001))
    with pytest.raises(FileError, match=r"Nothing was imported: a column holds what may be answers"):
        read(put(tmp_path, "b.jsonl", '{"prompt": "Q", "risposta": "A"}\n' * 1001 + "x"))


def bomb(folder: Path) -> Path:
    """20,000 rows of one text of a megabyte: a few kilobytes as a file, 20 GB as rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 1_000_000]))
    answers = pa.array([[{"role": "user", "content": "Q"}]] * 20_000)
    pq.write_table(pa.table({"prompt": text, "completion": answers}), folder / "bomb.parquet", compression="zstd")
    return folder / "bomb.parquet"


def test_a_parquet_bomb_is_refused_before_it_is_unpacked(tmp_path: Path):
    path = bomb(tmp_path)
    assert path.stat().st_size < 100_000
    code = (
        "import sys; from workbench.collect.formats import FileError, read; from workbench.memory import peak_mb\n"
        "import pyarrow.parquet; before = peak_mb()\n"
        "try: read(sys.argv[1])\n"
        "except FileError as error: print(error)\n"
        "print(peak_mb() - before)"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, env=env, check=True
    )
    message, growth = process.stdout.splitlines()
    assert "unpacks to more than 800 MB" in message and 0 < float(growth) < 400


def test_a_parquet_list_that_repeats_one_text_is_counted_too(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array(["x" * 100_000]))
    lists = pa.ListArray.from_arrays(pa.array([0, 5000], pa.int32()), text)
    pq.write_table(pa.table({"prompt": lists}), tmp_path / "a.parquet")
    with pytest.raises(FileError, match="unpacks to more than 100 MB"):
        list(parquet_rows(tmp_path / "a.parquet", 100_000_000))


def test_parquet_rows_of_every_shape_come_whole(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "prompt": [{"role": "user", "content": f"Q{n}"}],
            "n": n,
            "flag": n % 2 == 0,
            "about": {"a": None, "b": [str(n)]},
        }
        for n in range(250)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=90)
    assert list(parquet_rows(tmp_path / "a.parquet", 10_000_000)) == list(enumerate(rows, 1))
    imported = read(tmp_path / "a.parquet", as_="prompts")
    assert len(imported.rows) == 250 and imported.remarks == ["not used: n, flag, about"]


def test_an_import_follows_a_link_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    real = put(tmp_path, "real.jsonl", f"{ONE}\n")
    link, space = tmp_path / "link.jsonl", ["--workspace", str(tmp_path / "space")]
    link.symlink_to(real)
    assert cli.main(["import", str(link), *space]) == 1
    assert f"is a link to {real}" in capsys.readouterr().err
    assert cli.main(["import", str(link), "--follow-links", *space]) == 0
    (tmp_path / "dangling.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileError, match="no such file"):
        read(tmp_path / "dangling.jsonl", follow_links=True)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jsonl")
        with pytest.raises(FileError, match="not a plain file"):
            read(tmp_path / "pipe.jsonl")


def test_a_remark_on_the_whole_file_stands_in_the_report(tmp_path: Path):
    items = list(read_rows(put(tmp_path, "a.json", JSON["splits"]), is_row=lambda row: False))
    assert isinstance(items[0], Remark) and "train, test" in items[0].text

"""Files from the field, as one table: what each is taken for, how many records it gives, and what is left out and why.

The files stand in ../shared/cases; without that folder test_shapes.py and test_files.py prove the rules with rows of
their own.
"""

from pathlib import Path

import pytest

from workbench.collect.formats import FileError, read

CASES = Path(__file__).parent.parent.parent / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the folder ../shared/cases is not there")

PAIRS, DEMOS = "comparisons", "demonstrations"
TOOLS = "is part of a tool call"
# file: (kind, format, records, {line: part of the reason}, columns that are not used)
TABLE = {
    "01-ultrafeedback-raw/data.jsonl": (PAIRS, "ranked", 4, {}, "source, correct_answers, incorrect_answers"),
    "08-oasst-trees/messages.jsonl": (PAIRS, "oasst-messages", 3, {}, ""),
    "08-oasst-trees/trees.jsonl": (PAIRS, "oasst", 3, {}, "message_tree_id, tree_state"),
    "08-oasst-trees/trees.jsonl.gz": (PAIRS, "oasst", 3, {}, "message_tree_id, tree_state"),
    "09-pku-saferlhf/data.jsonl": (
        *(PAIRS, "two answers", 4, {}),
        "prompt_source, response_0_source, response_1_source, is_response_0_safe, is_response_1_safe, safer_response_id",
    ),
    "10-orca-dpo-pairs/argilla_distilabel.jsonl": (PAIRS, "trl", 4, {}, "generations, rating"),
    "10-orca-dpo-pairs/data.jsonl": (PAIRS, "trl", 4, {}, ""),
    "10-orca-dpo-pairs/prompt_and_system.jsonl": (PAIRS, "trl", 4, {}, ""),
    "13-webgpt/data.jsonl": (PAIRS, "two answers", 4, {}, "quotes_0, tokens_0, quotes_1, tokens_1"),
    "14-tldr-comparisons/data.jsonl": (PAIRS, "summaries", 4, {}, "batch, extra"),
    "17-llamafactory-sharegpt-ranking/dpo_alpaca.json": (PAIRS, "trl", 4, {}, ""),
    "17-llamafactory-sharegpt-ranking/dpo_alpaca_old_list.json": (PAIRS, "best first", 4, {}, ""),
    "17-llamafactory-sharegpt-ranking/dpo_fromvalue_lists.json": (PAIRS, "trl", 4, {}, ""),
    "17-llamafactory-sharegpt-ranking/dpo_sharegpt.json": (PAIRS, "trl", 4, {}, ""),
    "17-llamafactory-sharegpt-ranking/dpo_sharegpt_multiturn.json": (PAIRS, "trl", 4, {}, ""),
    "17-llamafactory-sharegpt-ranking/kto_alpaca.json": (PAIRS, "unpaired", 4, {}, ""),
    "17-llamafactory-sharegpt-ranking/kto_messages_label.json": (PAIRS, "unpaired", 4, {}, ""),
    "17-llamafactory-sharegpt-ranking/sft_alpaca_history.json": (DEMOS, "alpaca", 4, {}, ""),
    "18-openrlhf/context_messages.jsonl": (PAIRS, "trl", 3, {}, ""),
    "18-openrlhf/input_output.jsonl": (DEMOS, "trl", 3, {}, ""),
    "18-openrlhf/lists.jsonl": (PAIRS, "trl", 3, {}, ""),
    "18-openrlhf/message_jsonstring.jsonl": (DEMOS, "messages", 3, {}, ""),
    "19-verl-parquet/data.parquet": ("prompts", "verl", 4, {}, "ability, reward_model, extra_info"),
    "20-trl-tools-system/developer_thinking.jsonl": (DEMOS, "trl", 2, {}, "thinking of messages"),
    "20-trl-tools-system/dpo_system.jsonl": (PAIRS, "trl", 2, {}, ""),
    "20-trl-tools-system/dpo_tools.jsonl": (PAIRS, "trl", 0, {1: TOOLS}, ""),
    "20-trl-tools-system/roles_capital.jsonl": (DEMOS, "messages", 2, {}, ""),
    "20-trl-tools-system/sft_tools.jsonl": (DEMOS, "messages", 0, {1: TOOLS}, ""),
    "23-math-shepherd/data.jsonl": ("steps", "math-shepherd", 3, {}, "task"),
    "23-math-shepherd/trl_lib_math_shepherd.jsonl": ("steps", "trl", 3, {}, ""),
    "27-csv-variants/cr_only.csv": (PAIRS, "trl", 2, {}, ""),
    "27-csv-variants/fewer_cells.csv": (PAIRS, "trl", 1, {2: "2 cells under 3"}, ""),
    "27-csv-variants/header_caps.csv": (PAIRS, "trl", 1, {}, ""),
    "27-csv-variants/latin1.csv": (PAIRS, "trl", 2, {}, ""),
    "27-csv-variants/pandas_index.csv": (PAIRS, "trl", 2, {}, ""),
    "27-csv-variants/pandas_listrepr2.csv": (PAIRS, "trl", 1, {}, ""),
    "27-csv-variants/rfc.csv": (PAIRS, "trl", 2, {}, ""),
    "27-csv-variants/semicolon_excel_de.csv": (PAIRS, "trl", 2, {}, ""),
    "27-csv-variants/semicolon_in_long_header.csv": (PAIRS, "trl", 1, {}, ""),
    "27-csv-variants/sep_line.csv": (PAIRS, "trl", 2, {}, ""),
    "27-csv-variants/trailing_empty_cols.csv": (PAIRS, "trl", 2, {}, ""),
    "27-csv-variants/utf16_tab.csv": (PAIRS, "trl", 2, {}, ""),
    "27-csv-variants/utf16le_nobom.csv": (PAIRS, "trl", 2, {}, ""),
    "29-json-variants/bom.jsonl": (PAIRS, "trl", 1, {}, ""),
    "29-json-variants/columns_dict.json": (PAIRS, "trl", 2, {}, ""),
    "29-json-variants/comments.jsonl": (PAIRS, "trl", 1, {1: "not valid JSON"}, ""),
    "29-json-variants/crlf.jsonl": (PAIRS, "trl", 2, {}, ""),
    "29-json-variants/index_dict.json": (PAIRS, "trl", 2, {}, ""),
    "29-json-variants/json_named_jsonl.jsonl": (PAIRS, "trl", 2, {}, ""),
    "29-json-variants/json_oneline_named_jsonl.jsonl": (PAIRS, "trl", 2, {}, ""),
    "29-json-variants/jsonl_named_json.json": (PAIRS, "trl", 2, {}, ""),
    "29-json-variants/nan.jsonl": (PAIRS, "trl", 1, {}, ""),
    "29-json-variants/pretty_objects.jsonl": (PAIRS, "trl", 2, {}, ""),
    "29-json-variants/splits.json": (PAIRS, "trl", 2, {}, ""),
    "29-json-variants/trailing_comma.json": (PAIRS, "trl", 2, {}, ""),
    "29-json-variants/trailing_comma.jsonl": (PAIRS, "trl", 2, {}, ""),
    "29-json-variants/u2028.jsonl": (PAIRS, "trl", 1, {}, ""),
    "30-content-odd/data.jsonl": (
        *(PAIRS, "trl", 14),
        {
            7: "must be text, not int",
            8: "rejected is missing",
            12: "it has images",
            14: "the same as line 13",
            17: "the chosen answer is empty",
            18: "identical",
            19: "identical",  # but for a space
            22: "the prompt is empty",
            23: "NUL",
        },
        "",
    ),
    "32-distilabel/ties.jsonl": (PAIRS, "ranked", 2, {}, ""),
    "32-distilabel/ultrafeedback_step.jsonl": (PAIRS, "ranked", 3, {}, "rationales"),
    "50-multiturn-system-in-template/data.jsonl": (DEMOS, "messages", 1, {}, ""),
    "51-prompt-longer-than-max/data.jsonl": (PAIRS, "trl", 12, {}, ""),
    "52-some-too-long/data.jsonl": (PAIRS, "trl", 24, {}, ""),
    "52r-rank-one-long-prompt/data.jsonl": ("prompts", "trl", 21, {}, ""),
    "54-prompt-over-max-under-context/data.jsonl": (PAIRS, "trl", 24, {}, ""),
    "56-answer-cut/data.jsonl": (DEMOS, "trl", 24, {}, ""),
}
REFUSED = {
    "27-csv-variants/pandas_listrepr.csv": "the cell chosen looks like a list",
    "29-json-variants/array_of_arrays.json": "a row must be an object with named fields, not list",
    "29-json-variants/single_quotes.jsonl": "a Python dict",
}


def test_the_table_holds_every_file():
    names = {path.relative_to(CASES).as_posix() for path in CASES.glob("*/*") if path.is_file()}
    assert names == TABLE.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", TABLE)
def test_a_file_from_the_field_is_read_as_the_table_says(name: str):
    kind, format, records, reasons, unused = TABLE[name]
    imported = read(CASES / name)
    assert (imported.kind, imported.format, len(imported.rows)) == (kind, format, records)
    assert {bad.line: reasons.get(bad.line, "") in bad.reason for bad in imported.bad} == dict.fromkeys(reasons, True)
    assert [text for text in imported.remarks if text.startswith("not used")] == (
        [f"not used: {unused}"] if unused else []
    )


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(name: str):
    with pytest.raises(FileError, match=REFUSED[name]):
        read(CASES / name)


def test_judgements_of_these_files_are_the_right_way_round():
    """Worked out by hand from the files' own scores, choices and ranks."""
    groups = {
        name: [row.groups for row in read(CASES / name).rows]
        for name, (kind, _, records, *_) in TABLE.items()
        if kind == PAIRS and records
    }
    first, second = ((1,), (2,)), ((2,), (1,))
    assert groups["01-ultrafeedback-raw/data.jsonl"] == [((4,), (1,), (2,), (3,))] * 4  # 9, 8, 6, 1
    assert groups["08-oasst-trees/messages.jsonl"] == groups["08-oasst-trees/trees.jsonl"] == [first] * 3
    assert groups["09-pku-saferlhf/data.jsonl"] == [first, second, first, second]
    assert groups["13-webgpt/data.jsonl"] == [second, first, second, first]
    assert groups["14-tldr-comparisons/data.jsonl"] == [first, second, first, second]
    assert groups["32-distilabel/ties.jsonl"] == [((1, 2),)] * 2
    assert groups["32-distilabel/ultrafeedback_step.jsonl"] == [((1,), (2,), (3,))] * 3
    for name in ("kto_alpaca", "kto_messages_label"):
        rows = read(CASES / f"17-llamafactory-sharegpt-ranking/{name}.json").rows
        assert [row.acceptable for row in rows] == [0, 1, 0, 1]
    steps = read(CASES / "23-math-shepherd/data.jsonl").rows
    assert [row.labels for row in steps] == [(1, 1, -1)] * 3


def test_what_stands_above_a_prompt_in_these_files_is_kept():
    def prompts(name: str) -> list[str]:
        return [row.prompt for row in read(CASES / name).rows]

    cook = "System: You are a terse ship's cook.\n\nHuman: What is stew 1?"
    for name in ("argilla_distilabel", "data", "prompt_and_system"):
        assert prompts(f"10-orca-dpo-pairs/{name}.jsonl")[1] == cook
    assert prompts("17-llamafactory-sharegpt-ranking/sft_alpaca_history.json")[0] == (
        "System: You are a pilot.\n\nHuman: First question\n\nAssistant: First answer\n\nHuman: Second question 0."
    )
    assert prompts("20-trl-tools-system/developer_thinking.jsonl")[0] == "System: Be brief.\n\nHuman: Draft at Vik 0?"

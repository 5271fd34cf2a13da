"""Rows as well-known data sets and programs write them: each is read rightly, or refused with a clear sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.cli import main as cli
from workbench.collect.formats import FileError, import_file, read
from workbench.collect.importing import Imported, column_map
from workbench.store import Store

ASK, GOOD, BAD = ({"role": "user", "content": "Q"}, *({"role": "assistant", "content": t} for t in ("good", "bad")))
HUMAN, GPT = {"from": "human", "value": "Q"}, {"from": "gpt", "value": "good"}
AB = {"prompt": "Q", "response_a": "good", "response_b": "bad"}


def import_rows(folder: Path, *rows: dict[str, Any], name: str = "rows.jsonl", **options: Any) -> Imported:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read(path, **options)


PAIRS: dict[str, dict[str, Any]] = {
    "TRL": {"prompt": "Q", "chosen": "good", "rejected": "bad"},
    "TRL, messages": {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
    "another case": {"Prompt": "Q", "CHOSEN": "good", "Rejected": "bad"},
    "question": {"question": "Q", "chosen": "good", "rejected": "bad"},
    "instruction": {"instruction": "Q", "chosen": "good", "rejected": "bad"},
    "input": {"input": "Q", "chosen": "good", "rejected": "bad"},
    "context_messages": {"context_messages": [ASK], "chosen": "good", "rejected": "bad"},
    "messages": {"messages": [ASK], "chosen": [GOOD], "rejected": [BAD]},
    "LLaMA-Factory": {"conversations": [HUMAN], "chosen": GPT, "rejected": {"from": "gpt", "value": "bad"}},
    "LLaMA-Factory, old": {"instruction": "Q", "input": "", "output": ["good", "bad"]},
    "Argilla": {"instruction": "Q", "chosen_response": "good", "rejected_response": "bad", "chosen_avg_rating": 4.0},
    "rejected_answer": {"prompt": "Q", "chosen_answer": "good", "rejected_answer": "bad"},
    "an answer and rejected_answer": {"prompt": "Q", "answer": "good", "rejected_answer": "bad"},
    "ms-swift": {"messages": [ASK, GOOD], "rejected_response": "bad"},
    "ms-swift, messages": {"messages": [ASK, GOOD], "rejected_messages": [ASK, BAD]},
    "OpenAI": {
        "input": {"messages": [ASK], "tools": []},
        "preferred_output": [GOOD],
        "non_preferred_output": [BAD],
    },
    "UltraFeedback binarized": {
        **{"prompt": "Q", "chosen": [ASK, GOOD], "rejected": [ASK, BAD], "messages": [ASK, GOOD]},
        **{"score_chosen": 8.0, "score_rejected": 3.0},
    },
    "transcripts under a prompt": {
        **{"prompt": "Q", "chosen": "\n\nHuman: Q\n\nAssistant: good"},
        "rejected": "\n\nHuman: Q\n\nAssistant: bad",
    },
    "Stack Exchange paired": {"qid": 1, "question": "Q", "response_j": "good", "response_k": "bad"},
    "Stack Exchange": {"question": "Q", "answers": [{"text": "bad", "pm_score": 1}, {"text": "good", "pm_score": 3}]},
    "UltraFeedback": {
        "instruction": "Q",
        "completions": [{"response": "bad", "overall_score": 2.0}, {"response": "good", "overall_score": 9.0}],
    },
    "Nectar": {
        "prompt": "\n\nHuman: Q\n\nAssistant: ",
        "answers": [{"answer": "good", "model": "m", "rank": 1.0}, {"answer": "bad", "model": "n", "rank": 2.0}],
    },
    "distilabel": {"instruction": "Q", "generations": ["bad", "good"], "ratings": [1, 5]},
    "ranks": {"prompt": "Q", "responses": ["bad", "good"], "ranks": [2, 1]},
    "two answers": AB | {"winner": "A"},
    "two answers, by name": AB | {"preferred": "response_a"},
    "PKU-SafeRLHF": {"prompt": "Q", "response_0": "bad", "response_1": "good", "better_response_id": 1},
    "WebGPT": {
        **{"question": {"full_text": "Q"}, "answer_0": "good", "answer_1": "bad"},
        **{"score_0": 0.5, "score_1": -0.5},
    },
    "SHP": {"history": "Q", "human_ref_A": "bad", "human_ref_B": "good", "labels": 0, "score_A": 9, "score_B": 2},
    "HelpSteer3": {
        **{"context": [ASK], "response1": "good", "response2": "bad", "overall_preference": -2},
        "individual_preference": [{"score": -2}],
    },
    "Arena": {"model_a": "m", "winner": "model_b", "conversation_a": [ASK, BAD], "conversation_b": [ASK, GOOD]},
    "Arena, 55k": {
        **{"prompt": '["Q"]', "response_a": '["good"]', "response_b": '["bad"]'},
        **{"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0},
    },
    "UltraInteract": {"trajectory": [HUMAN], "chosen": "good", "rejected": "bad"},
    "messages as a text": {"prompt": json.dumps([ASK]), "chosen": json.dumps([GOOD]), "rejected": json.dumps([BAD])},
}


@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS)
def test_a_judgement_is_read_with_its_prompt_and_the_right_way_round(tmp_path: Path, row: dict[str, Any]):
    imported = import_rows(tmp_path, row)
    assert (imported.kind, imported.bad) == ("comparisons", [])
    ((better, worse),) = imported.rows[0].pairs()
    assert (imported.rows[0].prompt, better.text, worse.text) == ("Q", "good", "bad")


def test_helpsteer_is_gathered_by_its_prompt_and_ranked_by_helpfulness(tmp_path: Path):
    rows = [
        {"prompt": p, "response": r, "helpfulness": h, "correctness": 4, "coherence": 4}
        for p, r, h in (("Q", "bad", 1), ("R", "alone", 4), ("Q", "good", 3))
    ]
    imported = import_rows(tmp_path, *rows)
    ((better, worse),) = imported.rows[0].pairs()
    assert (len(imported.rows), better.text, worse.text) == (1, "good", "bad")
    assert [bad.line for bad in imported.bad] == [2] and "no list of two" in imported.bad[0].reason


def test_oasst_messages_give_a_ranking_for_every_question_with_what_came_before(tmp_path: Path):
    def message(id: str, parent: str | None, role: str, text: str, rank: int | None = None) -> dict[str, Any]:
        return {"message_id": id, "parent_id": parent, "text": text, "role": role, "rank": rank}

    imported = import_rows(
        tmp_path,
        message("a1", "q", "assistant", "bad", 1),
        message("q", None, "prompter", "Q"),
        message("a0", "q", "assistant", "good", 0),
        message("q2", "a0", "prompter", "More?"),
        message("b0", "q2", "assistant", "yes", 0),
        message("b1", "q2", "assistant", "no", 1),
        message("lost", "nowhere", "prompter", "Who?"),
    )
    assert [row.prompt for row in imported.rows] == ["Q", "Human: Q\n\nAssistant: good\n\nHuman: More?"]
    assert [[a.text for a in row.pairs()[0]] for row in imported.rows] == [["good", "bad"], ["yes", "no"]]
    ((line, reason),) = [(bad.line, bad.reason) for bad in imported.bad]
    assert line == 7 and "nowhere, is not in the file" in reason


@pytest.mark.parametrize(
    ("winner", "groups", "acceptable"),
    [
        ("tie", ((1, 2),), None),
        ("B", ((2,), (1,)), None),
        ("tie (bothbad)", ((1, 2),), 0),
        ("model_a", ((1,), (2,)), None),
        ("right", ((2,), (1,)), None),
    ],
)
def test_a_choice_between_two_answers(tmp_path: Path, winner: str, groups: Any, acceptable: int | None):
    (row,) = import_rows(tmp_path, AB | {"winner": winner}).rows
    assert (row.groups, row.acceptable) == (groups, acceptable)


@pytest.mark.parametrize("winner", ["C", True, 2, ""])
def test_a_choice_that_names_neither_side_is_left_out(tmp_path: Path, winner: Any):
    imported = import_rows(tmp_path, AB | {"prompt": "P", "winner": "A"}, AB | {"winner": winner})
    assert (
        len(imported.rows) == 1 and imported.bad[0].line == 2 and "response_a and response_b" in imported.bad[0].reason
    )


JUDGED_BAD: dict[str, dict[str, Any]] = {
    "TRL": {"prompt": [ASK], "completion": [BAD], "label": False},
    "kto_tag": {"instruction": "Q", "input": "", "output": "bad", "kto_tag": False},
    "messages": {"messages": [ASK, BAD], "label": False},
    "ShareGPT": {"conversations": [HUMAN, {"from": "gpt", "value": "bad"}], "kto_tag": "false"},
    "another name": {"question": "Q", "response": "bad", "label": -1},
    "rejected alone": {"prompt": "Q", "rejected_response": "bad"},
}


@pytest.mark.parametrize("row", JUDGED_BAD.values(), ids=JUDGED_BAD)
def test_an_answer_judged_bad_is_no_demonstration(tmp_path: Path, row: dict[str, Any]):
    (comparison,) = import_rows(tmp_path, row).rows
    assert (comparison.prompt, comparison.responses[0].text, comparison.acceptable) == ("Q", "bad", 0)
    assert import_rows(tmp_path, row, as_="demonstrations").rows == []


def test_an_answer_with_a_weight_of_0_is_not_imitated(tmp_path: Path):
    assert "weight 0" in import_rows(tmp_path, {"messages": [ASK, BAD | {"weight": 0}]}).bad[0].reason
    assert len(import_rows(tmp_path, {"messages": [ASK, BAD | {"weight": 0}, ASK, GOOD]}).rows) == 1


@pytest.mark.parametrize("column", ["score", "rating", "is_correct", "is_safe", "reward", "quality.responses", "toxic"])
def test_an_answer_that_an_unread_column_judges_is_refused_until_asked_for(tmp_path: Path, column: str):
    row = {"prompt": "Q", "response": "A", column: 0.5}
    with pytest.raises(FileError, match=rf"{column}.*--as demonstrations.*--map label={column}"):
        import_rows(tmp_path, row)
    assert [d.text for d in import_rows(tmp_path, row, as_="demonstrations").rows] == ["A"]
    assert [p.text for p in import_rows(tmp_path, row, as_="prompts").rows] == ["Q"]


def test_a_column_called_label_that_holds_something_else_judges_nothing(tmp_path: Path):
    rows = [{"prompt": p, "completion": "A", "label": label} for p, label in (("Q", "geography"), ("R", "history"))]
    imported = import_rows(tmp_path, *rows)
    assert (imported.kind, len(imported.rows), imported.remarks) == ("demonstrations", 2, ["not used: label"])
    imported = import_rows(tmp_path, PAIRS["TRL"] | {"label": "geography"})
    assert (imported.kind, len(imported.rows), imported.remarks) == ("comparisons", 1, ["not used: label"])
    assert "must be true" in import_rows(tmp_path, rows[0] | {"label": "toxic"}).bad[0].reason


NO_PROMPTS: dict[str, dict[str, Any]] = {
    "an unknown answer": {"prompt": "Q", "risposta": "A"},
    "an unjudged pair": AB,
    "candidates": {"prompt": "Q", "responses": ["a", "b"]},
    "a class": {"text": "A fine film", "label": 1},
    "SQuAD": {"context": "C", "question": "Q", "answers": {"text": ["a"], "answer_start": [1]}},
    "TruthfulQA": {"question": "Q", "best_answer": "a", "incorrect_answers": ["b"]},
    "one OASST message": {"text": "To the sea.", "role": "assistant"},
    "toxic-chat": {"user_input": "Q", "model_output": "A", "toxicity": 1},
    "an answer in the metadata": {"prompt": "Q", "metadata": {"answer": "A"}},
}


@pytest.mark.parametrize("row", NO_PROMPTS.values(), ids=NO_PROMPTS)
def test_what_may_be_answered_or_judged_never_becomes_a_bare_prompt_in_silence(tmp_path: Path, row: dict[str, Any]):
    with pytest.raises(FileError, match=r"Nothing was imported.*--as prompts.*--map"):
        import_rows(tmp_path, row)
    assert len(import_rows(tmp_path, row, as_="prompts").rows) == 1


def test_one_answered_row_among_prompts_is_left_out_by_name(tmp_path: Path):
    imported = import_rows(tmp_path, {"prompt": "Q"}, {"prompt": "R", "votes": 3}, {"prompt": "S", "votes": None})
    assert [row.text for row in imported.rows] == ["Q", "S"]
    assert [(bad.line, "votes may hold" in bad.reason) for bad in imported.bad] == [(2, True)]


def test_what_tells_of_a_prompt_and_of_no_answer_is_named_as_unused(tmp_path: Path):
    row = {"prompt": "Q", "id": 1, "source": "s", "category": "c", "topic": "t", "conv_id": "x", "meta": {"url": "u"}}
    imported = import_rows(tmp_path, row)
    assert (imported.kind, len(imported.rows)) == ("prompts", 1)
    assert imported.remarks == ["not used: category, topic, conv_id, meta"]


@pytest.mark.parametrize(
    "text",
    [
        "### Human: Q### Assistant: A",
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA",
        "Human: Q\n\nAssistant: A",
    ],
)
def test_a_rendered_conversation_with_its_answer_is_no_prompt(tmp_path: Path, text: str):
    imported = import_rows(tmp_path, {"text": "A plain one"}, {"text": text})
    assert [bad.line for bad in imported.bad] == [2] and "answer" in imported.bad[0].reason
    assert import_rows(tmp_path, {"prompt": [ASK, GOOD]}).rows == []


SHOWN: dict[str, tuple[dict[str, Any], str, str]] = {
    "GSM8K": ({"question": "Q", "answer": "A"}, "Q", "A"),
    "MATH": ({"problem": "Q", "solution": "A", "answer": "4", "level": "Level 5"}, "Q", "A"),
    "Dolly": ({"instruction": "Q", "context": "C", "response": "A", "category": "qa"}, "Q\n\nC", "A"),
    "OpenOrca": ({"id": 1, "system_prompt": "S", "question": "Q", "response": "A"}, "System: S\n\nHuman: Q", "A"),
    "Alpaca with a system prompt": ({"instruction": "Q", "output": "A", "system": "S"}, "System: S\n\nHuman: Q", "A"),
    "Alpaca, rendered too": (
        {"instruction": "Q", "output": "A", "text": "### Instruction: Q ### Response: A"},
        "Q",
        "A",
    ),
    "history": (
        {"instruction": "Q", "output": "A", "history": [["q", "a"]]},
        "Human: q\n\nAssistant: a\n\nHuman: Q",
        "A",
    ),
    "LIMA": ({"conversations": ["Q", "A"]}, "Q", "A"),
    "Capybara": (
        {"conversation": [{"input": "q", "output": "a"}, {"input": "Q", "output": "A"}]},
        "Human: q\n\nAssistant: a\n\nHuman: Q",
        "A",
    ),
    "distilabel": ({"instruction": "Q", "generation": "A", "model_name": "m"}, "Q", "A"),
    "OpenRLHF": ({"input": "Q", "output": "A"}, "Q", "A"),
    "messages as columns": ({"conversations": {"from": ["human", "gpt"], "value": ["Q", "A"]}}, "Q", "A"),
    "no_robots": ({"prompt": "Q", "messages": [ASK, GOOD], "category": "c"}, "Q", "good"),
    "roles in capitals": (
        {"messages": [{"role": "User", "content": "Q"}, {"role": "ASSISTANT", "content": "A"}]},
        "Q",
        "A",
    ),
    "developer": ({"messages": [{"role": "developer", "content": "S"}, ASK, GOOD]}, "System: S\n\nHuman: Q", "good"),
    "an empty system prompt": ({"messages": [{"role": "system", "content": None}, ASK, GOOD]}, "Q", "good"),
    "parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": t} for t in ("Q", "R")]}, GOOD]},
        "Q\nR",
        "good",
    ),
    "messages and an answer beside them": ({"messages": [ASK], "completion": "A"}, "Q", "A"),
    "no tools": ({"conversations": [HUMAN, GPT], "tools": "[]", "system": ""}, "Q", "good"),
}


@pytest.mark.parametrize(("row", "prompt", "answer"), SHOWN.values(), ids=SHOWN)
def test_an_answer_is_read_with_all_that_stands_above_it(tmp_path: Path, row: dict[str, Any], prompt: str, answer: str):
    imported = import_rows(tmp_path, row)
    assert [(each.prompt, each.text) for each in imported.rows] == [
        (prompt, answer)
    ] and imported.kind == "demonstrations"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, GOOD]}, "message 1 holds an image"),
        (
            {"messages": [ASK, GOOD | {"tool_calls": [{"id": 1}]}, {"role": "tool", "content": "x"}, GOOD]},
            "a tool call",
        ),
        ({"conversations": [HUMAN, GPT], "tools": '[{"name": "x"}]'}, "it has tools"),
        (PAIRS["TRL"] | {"images": ["x.png"]}, "it has images"),
        (PAIRS["OpenAI"] | {"input": {"messages": [ASK], "tools": [{"name": "x"}]}}, "its prompt has tools"),
        (
            {"messages": [{"role": "system", "content": "S"}, ASK, GOOD], "system": "other"},
            "two different system prompts",
        ),
        ({"instruction": "Q", "prompt": "another", "output": "A"}, "different prompts; choose one with --map"),
        ({"prompt": "Q", "messages": [ASK, GOOD, ASK], "chosen": "a", "rejected": "b"}, "hold different prompts"),
        ({"prompt": "Q", "context": {"title": "t"}, "response": "A"}, "context must be text"),
        ({"prompt": "Q", "history": "before", "response": "A"}, "the history must be a list"),
        ({"question": "Q", "answer": "right", "response": "wrong"}, "both hold an answer"),
        ({"question": "Q", "choices": ["a", "b"], "answer": 1}, "must be text, not int"),
        ({"prompt": "Q", "response": "A", "rejected": "True"}, "rejected is a flag"),
        ({"prompt": "Q", "chosen": [ASK, GOOD], "rejected": BAD}, "one message of the assistant"),
        ({"prompt": "Elsewhere", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]}, "is not in the conversations"),
        ({"chosen": "good", "rejected": "bad"}, "the prompt is missing"),
        ({"prompt": "Q", "answers": ["a", "b"], "scores": [1, None]}, "fewer than two answers have a score"),
        ({"messages": [ASK]}, "--as prompts"),
        ({"conversations": [ASK, {"role": "assistant", "content": "+"}]}, "labels of steps"),
        ({"problem": "Q", "steps": ["a"], "label": 4}, "the first wrong step"),
    ],
)
def test_a_row_that_would_lose_something_is_left_out_with_the_reason(tmp_path: Path, row: dict[str, Any], reason: str):
    imported = import_rows(tmp_path, row)
    assert imported.rows == [] and reason in imported.bad[0].reason


def test_a_conversation_that_ends_with_the_user_can_be_taken_as_a_prompt(tmp_path: Path):
    assert [row.text for row in import_rows(tmp_path, {"messages": [ASK]}, as_="prompts").rows] == ["Q"]


def test_a_model_s_thoughts_beside_its_answer_are_named_as_unused(tmp_path: Path):
    imported = import_rows(tmp_path, {"messages": [ASK, GOOD | {"thinking": "hm"}]})
    assert (len(imported.rows), imported.remarks) == (1, ["not used: thinking of messages"])


def test_steps_of_other_programs(tmp_path: Path):
    shepherd = {
        "input": "1 + 1? Step 1: It is 2. ки\nStep 2: The answer is: 3 ки",
        "label": "1 + 1? Step 1: It is 2. +\nStep 2: The answer is: 3 -",
    }
    (row,) = import_rows(tmp_path, shepherd).rows
    assert (row.prompt, row.labels) == ("1 + 1?", (1, -1))
    assert row.steps == ("Step 1: It is 2.", "\nStep 2: The answer is: 3")
    (row,) = import_rows(tmp_path, {"problem": "Q", "steps": ["a", "b", "c"], "label": 1}).rows  # c was not judged
    assert (row.steps, row.labels) == (("a", "\nb"), (1, -1))
    (row,) = import_rows(tmp_path, {"problem": "Q", "steps": ["a", "b"], "label": -1}).rows
    assert row.labels == (1, 1)


def test_rows_of_several_shapes_of_one_kind_are_all_read(tmp_path: Path):
    rows = [PAIRS[name] for name in ("TRL", "question", "ms-swift", "distilabel", "two answers")]
    imported = import_rows(tmp_path, *[json.loads(json.dumps(row).replace("Q", f"Q{n}")) for n, row in enumerate(rows)])
    assert [row.prompt for row in imported.rows] == [f"Q{n}" for n in range(5)] and imported.bad == []


def test_columns_can_be_named(tmp_path: Path):
    row = {"frage": "Q", "turns": {"answer": "A"}, "note": "n"}
    imported = import_rows(tmp_path, row, columns=column_map(["prompt=frage", "completion=turns.answer"]))
    assert [(each.prompt, each.text) for each in imported.rows] == [("Q", "A")]
    assert imported.remarks == ["not used: turns, note"]
    with pytest.raises(FileError, match=r"may be answers.*turns, note"):
        import_rows(tmp_path, row, columns={"prompt": "frage"})
    with pytest.raises(FileError, match="no column risposta, only frage, turns, note"):
        import_rows(tmp_path, row, columns={"prompt": "risposta"})
    with pytest.raises(FileError, match="no format has a column dog"):
        import_rows(tmp_path, row, columns={"dog": "frage"})
    for pair in ("prompt", "=a", "prompt="):
        with pytest.raises(FileError, match="NAME=COLUMN"):
            column_map([pair])
    (comparison,) = import_rows(
        tmp_path, {"prompt": "Q", "response": "A", "is_safe": False}, columns={"label": "is_safe"}
    ).rows
    assert comparison.acceptable == 0
    with pytest.raises(FileError, match=r"fields\.prompt, fields\.response.*--map prompt="):
        import_rows(tmp_path, {"fields": {"prompt": "Q", "response": "A"}, "suggestions": {}})


def test_an_import_that_took_nothing_does_not_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, space = tmp_path / "a.jsonl", ["--workspace", str(tmp_path / "space")]
    path.write_text(json.dumps({"prompt": "Q", "chosen": "a", "rejected": "a"}) + "\n")
    assert cli.main(["import", str(path), *space]) == 1
    out, err = capsys.readouterr()
    assert (
        "line 1: left out, the two answers are identical" in out and err == "error: nothing was imported from a.jsonl\n"
    )
    path.write_text(json.dumps({"frage": "Q", "antwort": "A"}) + "\n")
    assert cli.main(["import", str(path), *space]) == 1
    assert "--map prompt=frage" in capsys.readouterr().err
    argv = ["import", str(path), "--map", "prompt=frage", "--map", "completion=antwort", *space]
    assert [cli.main(argv), cli.main(argv)] == [0, 0], "a second time everything is known, which is no failure"
    assert "1 new demonstration (trl), 0 already known" in capsys.readouterr().out
    with Store(tmp_path / "space" / "workbench.db") as store:
        assert [(row.prompt, row.text) for row in store.demonstrations()] == [("Q", "A")]


def test_a_report_says_what_was_not_used_and_how_many_notes_there_are(tmp_path: Path, store: Store):
    path = tmp_path / "a.jsonl"
    rows = [{"id": 1, "prompt": f"Q{n}", "chosen": "a", "rejected": "b", "margin": 1} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = str(import_file(store, path))
    assert "30 new comparisons" in report and "not used: margin" in report
    assert "line 2: kept, but line 1 has the same id 1" in report and "and 9 more notes" in report

"""What the page sends: every function says which fields it takes, and no field of another type gets past that."""

import types
from typing import Any, get_args, get_origin

import pytest

from tests.pages import Scripted
from workbench.ui import shell
from workbench.ui.context import Refused
from workbench.ui.payload import takes

SAMPLES: dict[Any, list[Any]] = {
    type(None): [None],
    bool: [True],
    int: [7],
    float: [1.5],
    str: ["a text"],
    list: [[], [[1]], [{}], [None]],
    dict: [{}, {"a": [1]}, {"a": {"b": 1}}],
}


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    """Every function that the page may call, as the server calls it."""
    context = Scripted(tmp_path_factory.mktemp("payload"))
    context.store.add_prompts([f"What is {i} plus {i}?" for i in range(4)], "person")
    page = shell.build(context)
    parts = [part for part in page.blocks.values() if part.elem_id and part.elem_id.startswith("wb-")]
    yield [(value.__name__, value) for part in parts for name, value in vars(part).items() if name.startswith("wb_")]
    context.close()


def choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def right(kind: Any) -> Any:
    """A value of that type."""
    first = choices(kind)[0]
    samples = {list: [], dict: {}, Any: None}
    key = get_origin(first) or first
    return samples[key] if key in samples else SAMPLES[key][0]


def wrong(kind: Any) -> list[Any]:
    """Values of every other type."""
    if kind is Any:
        return []
    allowed = {get_origin(each) or each for each in choices(kind)}
    allowed |= {int} if float in allowed else set()
    samples = [value for other, values in SAMPLES.items() if other not in allowed for value in values]
    inner = [get_args(each)[0] for each in choices(kind) if get_origin(each) is list]
    samples += [[value] for each in inner for value in wrong(each)]
    return samples + ([{"a": [1]}, {"a": None}] if dict in allowed else [])


def test_every_function_of_the_page_says_what_it_takes(functions):
    assert len(functions) > 40
    assert [name for name, function in functions if function.takes is None] == []


def test_a_field_of_another_type_is_refused_by_its_name(functions, caplog):
    calls = 0
    for name, function in functions:
        good = {field: right(kind) for field, kind in function.takes.items()}
        for field, kind in function.takes.items():
            for value in wrong(kind):
                answer = function(good | {field: value}, None)
                assert f" as {field}" in answer["error"] and "is needed" in answer["error"], (
                    name,
                    field,
                    value,
                    answer,
                )
                calls += 1
            if kind is not Any and type(None) not in choices(kind):
                answer = function({key: value for key, value in good.items() if key != field}, None)
                assert f"sent nothing as {field}," in answer["error"], (name, field, answer)
    assert calls > 600 and not caplog.records


def test_odd_values_of_the_right_type_are_no_fault_of_ours(functions, caplog):
    odd = {int: [-1, 0, 2**60, -(10**30)], float: [-1.0, 1e300], str: ["", "\0", "x" * 300, "file:/etc", "../.."]}
    heavy = {
        "wb_measure",
        "wb_ask",
        "wb_simulate_steps",
        "wb_export_all",
        "wb_make_pairs",
    }  # they set the model to work
    for name, function in functions:
        if name in heavy:
            continue
        good = {field: right(kind) for field, kind in function.takes.items()}
        for field, kind in function.takes.items():
            for each in choices(kind):
                inner = get_args(each)[0] if get_origin(each) is list else each
                for value in odd.get(inner, []):
                    answer = function(good | {field: [value] if get_origin(each) is list else value}, None)
                    assert "This did not work" not in str(answer.get("error")), (name, field, value, answer)
    assert not [record for record in caplog.records if record.exc_info]


def test_half_a_character_is_named(functions):
    function = dict(functions)["wb_add_prompts"]
    assert "half a character" in function({"text": "\ud800"}, None)["error"]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({}, "sent nothing as id, but a whole number is needed"),
        ({"id": "7"}, "sent text as id, but a whole number is needed"),
        ({"id": True}, "sent true or false as id, but a whole number is needed"),
        ({"id": 7, "have": 3}, "sent a whole number as have, but a list is needed"),
        ({"id": 7, "have": ["a", 3]}, r"sent a whole number as have\[1\], but text is needed"),
        ({"id": 7, "set": {"steps": [1]}}, r"sent a list as set\['steps'\], but text or a number is needed"),
        ({"id": 7, "choice": 1.5}, "sent a number as choice, but a whole number or text is needed"),
    ],
)
def test_the_words_name_field_and_place(sent, message):
    @takes(id=int, have=list[str] | None, set=dict[str, str | float] | None, choice=int | str | None)
    def function(context, payload):
        return payload

    with pytest.raises(Refused, match=message):
        function(None, sent)
    assert function(None, {"id": 7, "rater": "ann", "odd": 1}) == {"id": 7, "rater": "ann"}

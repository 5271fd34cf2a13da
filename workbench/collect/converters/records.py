"""What converters make: records signed with who judged and where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.collect.row import Row, true, valid_text
from workbench.records import Comparison, Demonstration, Prompt, Response, StepLabels

Record = Prompt | Demonstration | Comparison | StepLabels


class Unused(ValueError):
    """Columns that nothing would read may hold an answer or a judgement. `records` is what the row gives without them,
    for somebody who asks for this kind."""

    def __init__(self, columns: Sequence[str], kind: str, records: list[Record]):
        self.columns, self.kind, self.records = tuple(columns), kind, records
        super().__init__(f"{', '.join(columns)} may hold an answer or a judgement, and would be lost")


@dataclass(frozen=True)
class Origin:
    """What a file does not say about its rows: whose they are (unless a column says so) and where they come from."""

    rater: str
    source: str

    def rater_of(self, row: Row, column: str = "rater") -> str:
        name = row.get(column)
        return name if isinstance(name, str) and name.strip() else self.rater


def demonstration(row: Row, origin: Origin, prompt: str, text: Any) -> Demonstration:
    source = row.get("source")
    source = source if isinstance(source, str) and source else origin.source
    rater, simulated = origin.rater_of(row), true(row.get("simulated"))
    return Demonstration(
        0, 0, valid_text(prompt, "the prompt"), valid_text(text, "the answer"), rater, source, simulated
    )


def comparison(row: Row, origin: Origin, prompt: str, texts: Sequence[str], **fields: Any) -> Comparison:
    """A judgement over `texts`, the first better than the second unless `groups` (places from 1) says otherwise."""
    valid_text(prompt, "the prompt")
    if len({text.strip() for text in texts}) == 1:
        raise ValueError("the two answers are identical, so there is nothing to choose")
    models = fields.pop("models", ["import"] * len(texts))
    responses = tuple(
        Response(n, 0, text, model, author="import")
        for n, (text, model) in enumerate(zip(texts, models, strict=True), 1)
    )
    values: dict[str, Any] = {
        "groups": ((1,), (2,)),
        "shown": tuple(range(1, len(texts) + 1)),
        "acceptable": None,
        "rater": origin.rater_of(row),
        "simulated": true(row.get("simulated")),
        "source": origin.source,
    }
    return Comparison(0, 0, prompt, responses, **values | fields)


def thumb(row: Row, origin: Origin, prompt: str, text: str, good: bool) -> Comparison:
    """One answer judged good or bad. It is kept as a comparison of one."""
    response = Response(1, 0, text, "import", author="import")
    rater, simulated = origin.rater_of(row), true(row.get("simulated"))
    return Comparison(0, 0, prompt, (response,), ((1,),), (1,), int(good), rater, simulated, source=origin.source)

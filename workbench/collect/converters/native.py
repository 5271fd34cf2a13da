"""Our own lossless forms."""

from typing import Any

from workbench.collect.conversation import plain_prompt
from workbench.collect.converters.records import Origin, Record
from workbench.collect.row import Row, or_none, true, valid_text
from workbench.records import Comparison, Response, Sampling


def native(row: Row, origin: Origin) -> list[Record]:
    """Our own lossless form of a comparison; groups and shown are positions in responses."""
    answers, groups, order = row.get("responses"), row.get("groups"), row.get("shown")
    if not isinstance(answers, list) or not isinstance(groups, list) or not isinstance(order, list):
        raise ValueError("responses, groups and shown must be lists")
    try:
        responses = tuple(_response(number, answer) for number, answer in enumerate(answers, 1))
        value: dict[str, Any] = {
            name: or_none(row.get(name), kind) for name, kind in (("seconds", float), ("acceptable", int))
        }
        value |= {name: or_none(row.get(name), str) for name in ("why", "question")}
        groups = tuple(tuple(int(n) + 1 for n in group) for group in groups)
        order = tuple(int(n) + 1 for n in order)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not as the workbench writes it: {error}") from None
    positions = list(range(1, len(responses) + 1))
    if (
        len(positions) < (2 if value["acceptable"] is None else 1)
        or sorted(order) != positions
        or sorted(n for group in groups for n in group) != positions
        or not all(groups)
    ):
        raise ValueError("groups and shown must hold each response once, and there must be two or more")
    if value["acceptable"] is not None and not 0 <= value["acceptable"] <= len(groups):
        raise ValueError(f"acceptable is {value['acceptable']}, but there are {len(groups)} groups")
    provenance: dict[str, Any] = {
        "rater": origin.rater_of(row),
        "simulated": true(row.get("simulated")),
        "source": str(row.get("source") or origin.source),
    }
    return [Comparison(0, 0, plain_prompt(row.get("prompt")), responses, groups, order, **value, **provenance)]


def _response(number: int, row: dict[str, Any]) -> Response:
    if row["text"] != "":  # a model may have said nothing
        valid_text(row["text"], f"answer {number}")
    sampling = Sampling(**row["sampling"]) if row.get("sampling") else None
    values = {name: row[name] for name in ("run", "strength", "tokens", "ended", "author") if row.get(name) is not None}
    return Response(number, 0, row["text"], str(row["model"]), sampling=sampling, **values)

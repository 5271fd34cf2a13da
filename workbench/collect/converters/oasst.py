"""OpenAssistant's conversations: trees of messages, in which people ranked the replies to each question."""

from collections.abc import Iterable, Iterator
from typing import Any

from workbench.collect.converters.records import Origin, Record, comparison
from workbench.collect.row import Row, is_empty, number, valid_text
from workbench.collect.turns import ALIASES, NAMES, Turn, to_text

KEPT = ("message_id", "parent_id", "text", "role", "rank", "deleted", "review_result")


def tree(row: Row, origin: Origin) -> list[Record]:
    """A ranking for every question whose replies were ranked: two or more, the best has the rank 0."""
    root = row.get("prompt")
    if not isinstance(root, dict):
        raise ValueError("the prompt must be the tree's first message")
    if not is_empty(root.get("parent_id")):
        raise ValueError(f"the message that it answers, {root['parent_id']}, is not in the file")
    records: list[Record] = []
    pending: list[tuple[dict[str, Any], list[Turn]]] = [(root, [])]
    while pending:
        message, history = pending.pop()
        turns = [*history, _turn(message)]
        replies = [each for each in message.get("replies") or [] if isinstance(each, dict) and not each.get("deleted")]
        pending += [(reply, turns) for reply in reversed(replies)]
        ranked = {
            each.get("text"): number(each.get("rank")) for each in replies if number(each.get("rank")) is not None
        }
        if turns[-1][0] == "user" and len(ranked) > 1:
            texts = [valid_text(text, "the reply") for text in ranked]
            order = sorted(set(ranked.values()), key=lambda rank: rank or 0.0)
            groups = tuple(
                tuple(place for place, rank in enumerate(ranked.values(), 1) if rank == each) for each in order
            )
            records.append(comparison(row, origin, valid_text(to_text(turns), "the prompt"), texts, groups=groups))
    if not records:
        raise ValueError("no question in it has two or more replies with a rank")
    return records


def _turn(message: dict[str, Any]) -> Turn:
    role = str(message.get("role")).lower()
    role = ALIASES.get(role, role)
    if role not in NAMES:
        raise ValueError(f"a message has the role {message.get('role')!r}; use prompter or assistant")
    return role, valid_text(message.get("text"), "a message")


def is_tree(row: Row) -> bool:
    prompt = row.peek("prompt")
    return isinstance(prompt, dict) and "replies" in prompt


def is_message(row: Row) -> bool:
    return all(name in row for name in ("message_id", "parent_id", "text", "role"))


def trees(items: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The file of single messages as trees, each on the line of its first message."""
    messages: dict[str, tuple[int, dict[str, Any]]] = {}
    for line, values in items:
        row = Row(values)
        message = {name: row.peek(name) for name in KEPT} | {"replies": []}
        messages[str(message["message_id"])] = (line, message)
    for _, message in messages.values():
        parent = messages.get(str(message["parent_id"]))
        if parent is not None:
            parent[1]["replies"].append(message)
    for line, message in messages.values():
        if str(message["parent_id"]) not in messages:
            yield line, {"prompt": message}

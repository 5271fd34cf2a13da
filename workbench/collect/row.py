"""One row of a file: its columns under any of their usual names, and which of them were read.

What a converter does not read is known afterwards: `unread` is how an import can say which columns it left alone, and
refuse where those hold answers or judgements.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

LONGEST = 100_000  # characters of one text; far beyond what a model here reads

# Names of a prompt, the first that is filled in counts; of a whole conversation; and of what belongs above a prompt.
PROMPTS = ("instruction", "prompt", "question", "query", "problem", "user_input", "input", "post", "text")
CONVERSATIONS: tuple[str, ...] = (
    "messages",
    "conversations",
    "conversation",
    "context_messages",
    "message",
    "dialogue",
    "dialog",
)
CONVERSATIONS += ("chat", "trajectory")
MORE = (
    "input",
    "context",
    "query",
    "passage",
    "paragraph",
    "document",
    "article",
)  # below an instruction, where they are not the prompt themselves
SYSTEM = ("system", "system_prompt", "system_message")
THOUGHTS = ("thinking", "reasoning", "reasoning_content")
ATTACHED = ("tools", "functions", "images", "image", "videos", "video", "audios", "audio", "documents")

# An answer's names, and those that the chosen and the rejected one go by.
ANSWERS = ("completion", "response", "output", "solution", "generation", "answer", "target", "reply", "assistant")
_BETTER = ("chosen", "preferred", "accepted")
_WORSE = ("rejected", "non_preferred", "nonpreferred", "dispreferred", "unpreferred")
_NOUNS: tuple[str, ...] = (
    "response",
    "answer",
    "output",
    "completion",
    "messages",
    "message",
    "text",
    "reply",
    "generation",
)
_NOUNS += ("conversation", "conversations", "summary")


def _spelled(stems: tuple[str, ...]) -> tuple[str, ...]:
    compounds = [name for stem in stems for noun in _NOUNS for name in (f"{stem}_{noun}", f"{noun}_{stem}")]
    return (*stems, *compounds)


NAMES: dict[str, tuple[str, ...]] = {
    "chosen": (*_spelled(_BETTER), "response_j", "response_w", "y_w"),
    "rejected": (*_spelled(_WORSE), "response_k", "response_l", "y_l"),
    "completion": ANSWERS,
    "label": ("label", "kto_tag", "desirable", "is_desirable", "thumb", "thumbs", "thumbs_up"),
    "system": SYSTEM,
    "rater": ("rater",),
}
SPELLING = {each: (name, place) for name, spelled in NAMES.items() for place, each in enumerate(spelled)}
# A column of one of these is a row's own: an object that has it is a row and not a file of rows.
ANSWERED = frozenset({*PROMPTS, *CONVERSATIONS, *NAMES["chosen"], *NAMES["rejected"]})
KNOWN = ANSWERED | {*NAMES["completion"], *NAMES["label"], *SYSTEM, "history", "split", "simulated"}

# Columns beside a prompt that hold neither an answer nor a judgement.
_ABOUT = r"(source|category|kind|type|split|subset|lang|language|topic|task|task_type|domain|dataset|url|link|origin)"
_ABOUT += r"|(date|time|timestamp|created|created_at|author|license|tags?|difficulty|level|title|name|subject|meta)"
_ABOUT += r"|(metadata|index|idx|unnamed.*|hash|md5|sha\d*|n?_?(tokens|chars|words|turns)|length|seed|evolved|number)"
_THING = r"(prompt|question|instruction|query|problem|sample|row|example|conversation|data|item|user|task|post|message)"
_IDENTITY = r"(id|ids|uuid|uid|guid|idx|index|hash|source|type|category|lang|language|topic|length|number|key)"
METADATA = re.compile(rf"|{_ABOUT}|id|uuid|uid|guid|key|{_THING}_?{_IDENTITY}|\w+_(id|ids|idx|uuid|hash)")
_OF_AN_ANSWER = re.compile(r"respon|answer|output|completion|better|best|safer|worse|worst|select|win")
EXPORT_COLUMNS = {"split", "simulated"}  # a row that has both is of an export of ours, whose other columns are known
# Words in the name of a column that judges an answer.
JUDGING = re.compile(
    r"(?:^|[^a-z])(scores?|ratings?|rewards?|ranks?|ranking|prefer\w*|votes?|\w*votes|thumbs?|labels?|safe|unsafe"
    r"|safety|quality|correct\w*|incorrect|grades?|feedback|accepted|rejected|chosen|better|worse|winner|toxic\w*"
    r"|harm\w*|helpful\w*|honest\w*|verdict|judge?ments?|critique|annotations?|approved|liked|disliked|wrong|desirable"
    r"|undesirable|kto_tag|hallucinat\w*|likert|stars|good|bad|coherence|truthful\w*|faithful\w*)(?![a-z])",
)


@lru_cache(4096)
def canonical(name: Any) -> str:
    """A column's name as it is looked up: without outer spaces, in small letters, with _ for other separators."""
    return re.sub(r"[\s.-]+", "_", str(name).strip().lower())


class Row(Mapping[str, Any]):
    """A row's columns by their canonical names. `get` marks a column as read; `has` and `peek` do not."""

    def __init__(self, values: Mapping[str, Any]):
        self.columns: dict[str, Any] = {}
        self.spelling: dict[str, str] = {}
        self.columns_read: set[str] = set()
        for name, value in values.items():
            key = canonical(name)
            if key in self.columns:
                key = str(name)
            self.columns[key], self.spelling[key] = unwrapped(value), str(name)
        self.spellings: dict[str, str] = {}
        for key in sorted(self.columns.keys() & SPELLING.keys(), key=lambda key: SPELLING[key][1]):
            name, best = SPELLING[key][0], self.spellings.get(SPELLING[key][0])
            better = best is None or (is_empty(self.columns[best]) and not is_empty(self.columns[key]))
            if self.columns[key] is not None and better:
                self.spellings[name] = key

    @property
    def is_own_export(self) -> bool:
        """Whether the row is of an export of ours."""
        return self.columns.keys() >= EXPORT_COLUMNS

    def __getitem__(self, name: str) -> Any:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def name_of(self, name: str) -> str | None:
        """Which column goes by this name: the first filled in of its spellings, else the first that is no null."""
        if name in NAMES:
            return self.spellings.get(name)
        return name if self.columns.get(name) is not None else None

    def peek(self, name: str) -> Any:
        column = self.name_of(name)
        return None if column is None else self.columns[column]

    def has(self, name: str) -> bool:
        return self.name_of(name) is not None

    def get(self, name: str, default: Any = None) -> Any:
        column = self.name_of(name)
        if column is None:
            return default
        self.columns_read.add(column)
        return self.columns[column]

    def unread_columns(self) -> list[str]:
        """Filled-in columns that nothing has read, by their canonical names; none of an export of ours."""
        if self.is_own_export:
            return []
        return [
            name
            for name, value in self.columns.items()
            if name not in self.columns_read and name not in ("", "id", "split") and not is_empty(value)
        ]


def is_empty(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, str | list | dict) and not value)
        or (isinstance(value, str) and not value.strip())
    )


def unwrapped(value: Any) -> Any:
    """A value without what a container wrapped it in: NaN is null, a text that is JSON messages is these, a list of
    objects may have come as an object of lists."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, str) and value[:1] in "[{" and ('"role"' in value or '"from"' in value):
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            return value
        messages = inner if isinstance(inner, list) else [inner]
        return inner if messages and all(is_message(each) for each in messages) else value
    if isinstance(value, dict) and is_message(value):
        columns = list(value.values())
        if all(isinstance(each, list) for each in columns) and len({len(each) for each in columns}) == 1:
            return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return value


def is_message(value: Any) -> bool:
    """Whether this is a message of a conversation in one of its usual forms."""
    return isinstance(value, dict) and ("role" in value or {"from", "value"} <= value.keys())


def metadata(name: str, value: Any) -> bool:
    """Whether a column beside a prompt tells of the prompt, and of no answer and no judgement."""
    key = canonical(name)
    if not METADATA.fullmatch(key) or judges(name) or _OF_AN_ANSWER.search(key):
        return False
    return not isinstance(value, dict) or all(metadata(each, cell) for each, cell in value.items())


def judges(name: str) -> bool:
    """Whether a column's name says that it judges an answer."""
    return bool(JUDGING.search(canonical(name)))


def thoughts(row: Row) -> list[str]:
    """What messages hold beside their text that is not read: a model's thoughts before its answer."""
    messages = [each for value in row.columns.values() if isinstance(value, list) for each in value if is_message(each)]
    names = dict.fromkeys(name for each in messages for name in THOUGHTS if not is_empty(each.get(name)))
    return [f"{name} of messages" for name in names]


def valid_text(value: Any, what: str) -> str:
    """A text that is there, can be kept and is not endless. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{what} is missing" if value is None else f"{what} must be text, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    if len(value) > LONGEST:
        raise ValueError(f"{what} has {len(value):,} characters; at most {LONGEST:,} are read")
    if "\0" in value:
        raise ValueError(f"{what} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        if "\udc80" <= value[error.start] <= "\udcff":
            raise ValueError(f"{what} holds bytes that are not UTF-8; save the file as UTF-8") from None
        raise ValueError(f"{what} holds half a character (an unpaired surrogate)") from None
    return value


def flag_of(value: Any) -> str:
    """A cell as flags and choices are looked up: in small letters, with _ for spaces."""
    return str(value).strip().lower().replace(" ", "_")


def true(value: Any) -> bool:
    """A flag of JSON, Parquet or CSV."""
    return value is True or str(value).strip().lower() in ("true", "1", "yes")


def number(value: Any) -> float | None:
    """A number of JSON, Parquet or CSV; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except ValueError:
        return None
    return parsed if math.isfinite(parsed) else None


def as_list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{what} must be a list" + ("" if value is not None else " and are missing"))
    return value


def or_none(value: Any, kind: type) -> Any:
    return None if value is None or value == "" else kind(value)

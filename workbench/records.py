"""The nouns of the workbench: what people write and judge, and what a model answered.

Plain frozen dataclasses: no SQL, no tensors. Ids come from one counter for all kinds, so that `seq`
(the same number) orders anything against anything; the clock orders nothing. An id of 0 is not stored yet.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

HELD_OUT_SHARE = 0.15
PLURAL = re.compile(r"s\b")  # the first one makes "answers with labelled steps" many
LABELS = (-1, 0, 1)  # of a step, as in PRM800K (Lightman et al. 2023)


def split_of(prompt_text: str) -> Literal["train", "heldout"]:
    """Which side of the one train/held-out split a prompt is on: a hash of its words, case and spacing ignored.

    Every method, the sample data and the sandbox's pretraining use this split, so that a held-out prompt is
    never trained on anywhere; 15 % are held out.
    """
    normal_form = " ".join(prompt_text.split()).casefold()
    digest = blake2b(normal_form.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return "heldout" if int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**64 else "train"


def how_many(n: int, nouns: str) -> str:
    """A count with its noun, which is given in the plural: "1 labelled answer", "2,021 prompts"."""
    return f"{n:,} {re.sub(PLURAL, '', nouns, count=1) if n == 1 else nouns}"


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn. `temperature` 0 is greedy; `max_new_tokens` counts the end token."""

    temperature: float = 0.8
    top_p: float = 1.0
    max_new_tokens: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Prompt:
    """A question. `source` is "sandbox", "person" or "import:FILE"; `kind` is the sandbox's kind of question."""

    id: int
    text: str
    source: str = "person"
    kind: str | None = None
    seq: int = 0

    @property
    def split(self) -> Literal["train", "heldout"]:
        """ "train" or "heldout", see split_of."""
        return split_of(self.text)


@dataclass(frozen=True)
class Response:
    """One answer to a prompt; never changed once stored.

    `run` is the number of the run whose adapter wrote it, None for the base; `ended` says whether the model
    stopped by itself; `author` is "model", "person" or "import".
    """

    id: int
    prompt_id: int
    text: str
    model: str
    run: int | None = None
    sampling: Sampling | None = None
    strength: float = 1.0
    tokens: int | None = None
    ended: bool | None = None
    author: str = "model"


@dataclass(frozen=True)
class Demonstration:
    """The answer somebody wishes the model gave. `version` counts edits; `draft_of` is the response it began from."""

    id: int
    prompt_id: int
    prompt: str
    text: str
    rater: str
    source: str = "person"
    simulated: bool = False
    draft_of: int | None = None
    version: int = 1
    seq: int = 0


@dataclass(frozen=True)
class Comparison:
    """One judgement over two or more responses to a prompt; over a single one it is a thumb up or down.

    `groups` holds response ids, best group first, ties sharing a group. `shown` is the order they stood in
    on the page. `acceptable` is how many leading groups are acceptable: None when not asked, 0 when all are bad;
    of a single response it is the thumb, 1 up or 0 down.
    `seconds` is how long the judgement took, `question` what the rater was asked to judge by.
    """

    id: int
    prompt_id: int
    prompt: str
    responses: tuple[Response, ...]
    groups: tuple[tuple[int, ...], ...]
    shown: tuple[int, ...]
    acceptable: int | None
    rater: str
    simulated: bool = False
    seconds: float | None = None
    why: str | None = None
    question: str | None = None
    version: int = 1
    seq: int = 0
    source: str = "person"

    def pairs(self) -> list[tuple[Response, Response]]:
        """Every (chosen, rejected) pair the ranking implies, best first; tied responses give none."""
        by_id = {response.id: response for response in self.responses}
        return [
            (by_id[better], by_id[worse])
            for place, group in enumerate(self.groups)
            for better in group
            for lower in self.groups[place + 1 :]
            for worse in lower
        ]


@dataclass(frozen=True)
class StepLabels:
    """An answer judged step by step: `steps` joined are the answer, each with -1 (wrong), 0 (neutral) or 1 (right)."""

    id: int
    prompt_id: int
    prompt: str
    steps: tuple[str, ...]
    labels: tuple[int, ...]
    rater: str
    simulated: bool = False
    source: str = "person"
    seconds: float | None = None
    seq: int = 0

    @property
    def answer(self) -> str:
        return "".join(self.steps)


@dataclass(frozen=True)
class Verdict:
    """A blind vote in Compare. `choice` is a response id, "tie" or "bad"."""

    id: int
    prompt_id: int
    prompt: str
    shown: tuple[int, ...]
    choice: int | Literal["tie", "bad"]
    rater: str
    simulated: bool = False
    seconds: float | None = None
    seq: int = 0

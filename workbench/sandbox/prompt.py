"""A prompt of the micro-world with its truth, and the form in which prompts are compared."""

import re
from dataclasses import dataclass

from workbench.records import split_of


@dataclass(frozen=True)
class WorldPrompt:
    """A prompt with its truth.

    `topic` names the relation or table row, `subject` what is asked about, `truth` the accepted values (canonical first),
    `claim` a value that the prompt puts forward, `counterclaim` a value that the user presses for, `steps` the sum's steps.
    """

    text: str
    kind: str
    topic: str
    subject: str = ""
    truth: tuple[str, ...] = ()
    claim: str | None = None
    counterclaim: str | None = None
    steps: str = ""

    @property
    def split(self) -> str:
        return split_of(self.text)

    @property
    def claim_is_true(self) -> bool:
        """Whether the value that the prompt puts forward is the truth."""
        return (self.claim or "").casefold() in {value.casefold() for value in self.truth}


def normal(text: str) -> str:
    """The form in which prompts are compared: lower case, single spaces, no closing punctuation, no 'please'."""
    text = " ".join(text.split()).casefold().replace("’", "'").replace("×", "x")
    text = re.sub(r"^(?:please,? )|,? please(?=[?.!]*$)", "", text)
    return text.rstrip(" ?!.")

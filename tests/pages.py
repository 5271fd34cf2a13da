"""A page's context over a store in a temporary folder, with a model whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

from workbench import settings
from workbench.records import Prompt, Response, Sampling
from workbench.store import Store
from workbench.ui.context import Context

CONTEXT = 512
Answer = Callable[[str, int], str]  # prompt, how many answers were given before -> answer


def counted(prompt: str, number: int) -> str:
    """Every answer is another one, so that no pair is refused for being two times the same."""
    return f"answer {number} to {prompt}"


class Scripted(Context):
    """A context whose model says what a test wrote."""

    def __init__(self, folder: Path, answer: Answer = counted) -> None:
        super().__init__(settings.load(folder), Store(folder / "workbench.db"))
        self.model_state = "ready"
        self._say = answer
        self._count = 0

    def model(self):
        """Reads 448 words, each a token, as far as prompts' lengths go; it answers through `answer`."""

        def too_long(texts: Sequence[str], new_tokens: int) -> dict[str, int]:
            return {text: n for text in texts if (n := len(text.split())) > CONTEXT - new_tokens}

        return SimpleNamespace(context=CONTEXT, too_long=too_long)

    def answer(self, prompts: Sequence[Prompt], background: bool = False) -> list[Response]:
        answers = []
        for prompt in prompts:
            text = self._say(prompt.text, self._count)
            self._count += 1
            answers.append(Response(0, prompt.id, text, "sandbox", sampling=Sampling(seed=self._count), ended=True))
        return answers

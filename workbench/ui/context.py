"""What every tab of the page works with: the settings, the store, and the parts that are made on first use."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

from workbench import settings
from workbench.ui import access

if TYPE_CHECKING:
    from workbench.collect.pairs import PairQueue
    from workbench.models import Model
    from workbench.records import Prompt, Response
    from workbench.settings import Settings
    from workbench.store import Store
    from workbench.ui.payload import Endpoint

log = logging.getLogger(__name__)
Part = TypeVar("Part")

VISITOR = "you"


class Refused(ValueError):
    """A request that cannot be carried out. Its text is shown beside the thing: what happened and what to do."""


class Context:
    """The settings and the store of one page, and the model and the pair queue, which are made on first use.

    Nothing here imports torch before the model is asked for, so that the first page does not wait for it.
    """

    def __init__(self, its_settings: Settings, store: Store) -> None:
        self.settings = its_settings
        self.store = store
        self._lock = threading.Lock()
        self._pairs: PairQueue | None = None
        self._place: str | None = None
        self._parts: dict[str, Any] = {}
        self._lengths: dict[str, int | None] = {}  # a prompt's text -> its tokens if they are too many, else None
        self.shared = False  # whether others than the owner of this machine may see the page
        self.functions: dict[Endpoint, None] = {}  # what the panels built so far may call, each once, in their order
        self.model_state = "waiting"  # waiting, loading, ready, failed
        self.model_error = ""

    def model(self) -> Model:
        """The one model of this process, loaded on the first call. Raises what the loading raised."""
        from workbench import models

        if self.model_state != "ready":
            self.model_state = "loading"
        try:
            model = models.shared(self.settings)
        except Exception as error:
            self.model_state, self.model_error = "failed", str(error)
            raise
        self.model_state, self.model_error = "ready", ""
        return model

    def loading(self) -> str:
        """ "Loading the model, 40 %" while it loads, why it failed once it has, else ""."""
        if self.model_state == "failed":
            return f"The model could not be loaded. {self.model_error}"
        if self.model_state == "ready":
            return ""
        from workbench import models

        return f"Loading the model, {round(100 * models.progress()[1])} %"

    @property
    def key(self) -> str:
        """A short name of the workspace, under which a browser keeps drafts and unsent choices of it."""
        return blake2b(str(self.settings.workspace).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()

    def place(self) -> str:
        """Model and device in one line. Asked of the machine once."""
        if self._place is None:
            self._place = settings.describe(self.settings)
        return self._place

    def load_in_background(self) -> None:
        """Load the model on a thread of its own, then begin to write pairs. A failure is kept for the page to show."""

        def load() -> None:
            try:
                self.model()
                _ = self.pairs
            except Exception:
                log.exception("the model could not be loaded")

        threading.Thread(target=load, name="load-model", daemon=True).start()

    @property
    def pairs(self) -> PairQueue:
        """The queue of unjudged pairs, which generates ahead in the background."""
        from workbench.collect.pairs import PairQueue

        with self._lock:
            if self._pairs is None:
                self._pairs = PairQueue(self.store, self.write_two, too_long=self.too_long_ids)
            return self._pairs

    def part(self, name: str, make: Callable[[], Part]) -> Part:
        """Something a tab keeps for the life of the process, made on first use."""
        with self._lock:
            if name not in self._parts:
                self._parts[name] = make()
            part: Part = self._parts[name]
            return part

    def write_two(self, prompts: Sequence[Prompt]) -> list[tuple[Response, Response]]:
        """Let the base answer every prompt twice, in one batch, behind whoever waits for an answer. Not stored yet."""
        responses = self.answer([prompt for prompt in prompts for _ in range(2)], background=True)
        return list(zip(responses[0::2], responses[1::2], strict=True))

    def too_long(self, texts: Sequence[str]) -> dict[str, int]:
        """Those texts that are too long a prompt for the model, with their tokens; {} while it is not loaded."""
        if self.model_state != "ready":
            return {}
        from workbench.records import Sampling

        new_texts = [text for text in texts if text not in self._lengths]
        if new_texts:
            lengths = self.model().too_long(new_texts, Sampling().max_new_tokens)
            self._lengths.update({text: lengths.get(text) for text in new_texts})
        return {text: n for text in texts if (n := self._lengths[text]) is not None}

    def too_long_ids(self, prompts: Sequence[Prompt]) -> dict[int, int]:
        """The ids of those prompts that are too long for the model, with their tokens. Loads the model."""
        self.model()
        lengths = self.too_long([prompt.text for prompt in prompts])
        return {prompt.id: lengths[prompt.text] for prompt in prompts if prompt.text in lengths}

    def prompt_limit(self) -> str:
        """ "sandbox reads 448": the longest prompt, in tokens, that leaves room for an answer."""
        from workbench.records import Sampling

        return f"{settings.short_name(self.settings.model)} reads {self.model().context - Sampling().max_new_tokens:,}"

    def answer(self, prompts: Sequence[Prompt], background: bool = False) -> list[Response]:
        """One answer of the base per prompt, each from a seed of its own. Not stored yet (id 0)."""
        from workbench.models import generate
        from workbench.records import Response, Sampling

        model = self.model()
        seeds = [secrets.randbelow(2**31) for _ in prompts]
        texts = [prompt.text for prompt in prompts]
        generations = generate.generate(model, texts, Sampling(), seeds=seeds, background=background)
        return [
            Response(
                id=0,
                prompt_id=prompt.id,
                text=generation.text.strip(),
                model=self.settings.model,
                sampling=Sampling(seed=seed),
                tokens=len(generation.tokens),
                ended=generation.ended,
            )
            for prompt, seed, generation in zip(prompts, seeds, generations, strict=True)
        ]

    def rater(self, request: Any) -> str:
        """Who is at the page: the name of the login, or "you" where there is none."""
        return access.user(request) or VISITOR

    def owns(self, started_by: str | None, rater: str | None) -> bool:
        """Whether whoever is at the page may know paths of what `started_by` started: on a page that serves this
        machine alone anybody, else that login."""
        return not self.shared or (started_by is not None and started_by == rater)

    def close(self) -> None:
        """Stop generating ahead and close the store."""
        if self._pairs is not None:
            self._pairs.close()
        self.store.close()

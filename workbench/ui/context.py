"""What every tab of the page works with: the settings, the store, and the parts that are made on first use."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench import settings

if TYPE_CHECKING:
    from workbench.collect.pairs import PairQueue
    from workbench.models import Model
    from workbench.records import Prompt, Response, Sampling
    from workbench.settings import Settings
    from workbench.store import Store

log = logging.getLogger(__name__)

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
            return f"The model could not be loaded: {self.model_error}"
        if self.model_state != "loading":
            return ""
        from workbench import models

        progress = getattr(models, "progress", None)
        share = progress() if callable(progress) else None
        return "Loading the model" if share is None else f"Loading the model, {round(100 * share)} %"

    def place(self) -> str:
        """Model and device in one line. Asked of the machine once."""
        if self._place is None:
            self._place = settings.describe(self.settings)
        return self._place

    def load_in_background(self) -> None:
        """Start loading the model on a thread of its own. A failure is kept for the page to show."""

        def load() -> None:
            try:
                self.model()
            except Exception:
                log.exception("the model could not be loaded")

        threading.Thread(target=load, name="load-model", daemon=True).start()

    @property
    def pairs(self) -> PairQueue:
        """The queue of unjudged pairs, which generates ahead in the background."""
        from workbench.collect.pairs import PairQueue

        with self._lock:
            if self._pairs is None:
                self._pairs = PairQueue(self.store, self.write_two)
            return self._pairs

    def write_two(self, prompts: Sequence[Prompt]) -> list[tuple[Response, Response]]:
        """Let the base answer every prompt twice, in one batch. The answers are not stored yet (id 0)."""
        from workbench import generate
        from workbench.records import Response

        sampling = answer_sampling(self.store)
        model = self.model()
        texts = [prompt.text for prompt in prompts for _ in range(2)]
        seeds = [sampling.seed + index for index in range(len(texts))]
        written = generate.generate(model, texts, sampling, seeds=seeds)
        responses = [
            Response(
                id=0,
                prompt_id=prompts[index // 2].id,
                text=answer.text,
                model=self.settings.model,
                sampling=sampling_with_seed(sampling, seeds[index]),
                tokens=answer.tokens,
                ended=answer.ended,
            )
            for index, answer in enumerate(written)
        ]
        return list(zip(responses[0::2], responses[1::2], strict=True))

    def rater(self, request: Any) -> str:
        """Who is at the page: the name of the login, or "you" where there is none."""
        app = getattr(request, "app", None)
        cookies = getattr(request, "cookies", None)
        if app is None or not cookies or getattr(app, "auth", None) is None:
            return VISITOR
        for name in (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}"):
            if user := app.tokens.get(cookies.get(name)):
                return str(user)
        return VISITOR

    def close(self) -> None:
        """Stop generating ahead and close the store."""
        if self._pairs is not None:
            self._pairs.close()
        self.store.close()


def answer_sampling(store: Store) -> Sampling:
    """The sampling of answers to be ranked: temperature 0.8, with a seed that no earlier answer has had."""
    from workbench.records import Sampling

    return Sampling(temperature=0.8, max_new_tokens=64, seed=1_000_003 * (1 + store.counts()["responses"]) % 2**31)


def sampling_with_seed(sampling: Sampling, seed: int) -> Sampling:
    """The same sampling with another seed: each answer keeps the seed that makes it again."""
    from dataclasses import replace

    return replace(sampling, seed=seed)

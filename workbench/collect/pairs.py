"""Pairs to rank, written before anybody asks: while one pair is judged, the next ones are generated."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypedDict

from workbench.collect.prompts import next_to_rank
from workbench.records import Prompt, Response
from workbench.store import Store

Triple = tuple[Prompt, Response, Response]
WriteTwo = Callable[[list[Prompt]], list[tuple[Response, Response]]]
TooLong = Callable[[list[Prompt]], dict[int, int]]
BATCH = 4  # prompts per call of write_two: small enough that the first pair is there soon
TRIES = 3  # how often two identical answers are asked for again before the prompt is passed over
BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
LOOK_SECONDS = 1.0  # how often to look whether prompts have come when there were none


@dataclass(frozen=True)
class Pair:
    """Two stored answers to one prompt, on the sides they are shown on."""

    prompt: Prompt
    left: Response
    right: Response

    @property
    def shown(self) -> tuple[int, int]:
        """The response ids in the order shown, as Store.add_comparison wants them."""
        return self.left.id, self.right.id


class QueueState(TypedDict):
    """Pairs waiting (`ready`), how many are kept waiting (`target`), pairs written so far (`done`), whether the model is
    writing, its error, the prompts that are too long for it (`passed`), id -> tokens, and the ids of those that it gave
    the same answer twice, `TRIES` times over, when last asked (`identical`)."""

    ready: int
    writing: bool
    error: str | None
    target: int
    done: int
    passed: dict[int, int]
    identical: list[int]


def look_alike(first: str, second: str) -> bool:
    """Whether two answers read the same on the page: line by line the same words, whatever the spaces between them."""
    one, other = ([" ".join(line.split()) for line in text.strip().splitlines()] for text in (first, second))
    return one == other


class PairQueue:
    """Keeps `ahead` pairs ready, written by `write_two` in a thread of its own.

    `too_long(prompts)` gives the ids of those that the model cannot read, each with its number of tokens: they are
    passed over. `write_two(prompts)` gives two answers (not stored yet, or stored) to each prompt, in order. When it
    raises, the message stays in `state()` until it works again; it is tried anew after 1, 2, 4 ... 30 s.
    """

    def __init__(
        self,
        store: Store,
        write_two: WriteTwo,
        ahead: int = 8,
        seed: int | None = None,
        too_long: TooLong = lambda prompts: {},
    ):
        self._store = store
        self._too_long = too_long
        self._overlong: dict[int, int] = {}  # prompt id -> tokens, of those that are too long
        self._write_two = write_two
        self._ahead = ahead
        self._sides = random.Random(seed)
        self._changed = threading.Condition()
        self._ready: list[Triple] = []
        self._requests: Counter[int] = Counter()  # prompt id -> pairs asked for in this life
        self._identical: set[int] = set()  # prompts passed over because both answers were the same
        self._rater: str | None = None
        self._closed = self._writing = self._retry = False
        self._era = 0  # counts clear(): what was begun before one is thrown away
        self._dropped: set[int] = set()  # prompts deleted while pairs are written
        self._error: str | None = None
        self._failures = self._count = 0
        self._thread = threading.Thread(target=self._loop, name="pairs", daemon=True)
        self._thread.start()

    def take(self, rater: str, n: int = 1, timeout: float = 0.0) -> list[Pair]:
        """Up to n ready pairs, sides drawn at random; those whose prompt this rater has judged least come first.

        Returns at once with what there is; with `timeout` it waits that many seconds for a first pair.
        """
        judgements = self._store.judged(rater)
        with self._changed:
            self._rater = rater
            if timeout > 0:
                self._changed.wait_for(lambda: self._ready or self._closed, timeout)
            self._ready.sort(key=lambda item: judgements.get(item[0].id, 0))  # stable: the oldest of equals first
            pairs, self._ready = self._ready[:n], self._ready[n:]
            self._changed.notify_all()
            return [Pair(prompt, *self._sides.sample(answers, 2)) for prompt, *answers in pairs]

    def state(self) -> QueueState:
        with self._changed:
            return {
                "ready": len(self._ready),
                "writing": self._writing,
                "error": self._error,
                "target": self._ahead,
                "done": self._count,
                "passed": dict(self._overlong),
                "identical": sorted(self._identical),
            }

    def retry(self) -> None:
        """Try again now, without waiting for the back-off to pass."""
        with self._changed:
            self._retry = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Throw away what is ready and under way, because another model is to write from here on."""
        with self._changed:
            self._era += 1
            self._ready = []
            self._identical.clear()
            self._retry = True
            self._changed.notify_all()

    def drop(self, prompt_id: int) -> None:
        """Take pairs of this prompt out, those under way too: it was deleted."""
        with self._changed:
            self._dropped.add(prompt_id)
            self._identical.discard(prompt_id)
            self._ready = [item for item in self._ready if item[0].id != prompt_id]
            self._changed.notify_all()

    def close(self, timeout: float = 10.0) -> None:
        """Stop after the call under way; waits up to `timeout` seconds for it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._ready) < self._ahead)
                if self._closed:
                    return
                n, era, rater = min(BATCH, self._ahead - len(self._ready)), self._era, self._rater
                self._retry = False
                self._dropped.clear()
            try:
                chosen = self._choose(rater, n)
                pairs = self._write(chosen)
            except Exception as error:  # whatever the model raises is shown on the page, and tried again
                self._wait_before_retry(error)
                continue
            with self._changed:
                self._failures, self._error, self._writing = 0, None, False
                if era == self._era:
                    self._ready += [item for item in pairs if item[0].id not in self._dropped]
                    self._count += len(pairs)
                    with_pair = {item[0].id for item in pairs}
                    self._identical -= with_pair
                    self._identical |= {prompt.id for prompt in chosen} - with_pair - self._dropped
                self._changed.notify_all()
                if not pairs:
                    self._changed.wait_for(lambda: self._closed or self._retry, LOOK_SECONDS)

    def _wait_before_retry(self, error: Exception) -> None:
        with self._changed:
            pause = BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS) - 1)]
            self._failures += 1
            self._error = str(error) or type(error).__name__
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._retry, pause)

    def _choose(self, rater: str | None, n: int) -> list[Prompt]:
        """The n prompts that this rater has judged, and that were asked for in this life, least often.

        What was asked for counts even when no pair came of it: else prompts whose answers are always
        identical would keep the others from their turn.
        """
        order = next_to_rank(self._store, rater, n=10**9)
        overlong = self._too_long(order)
        with self._changed:
            self._overlong = overlong
        order = [prompt for prompt in order if prompt.id not in overlong]
        judgements = self._store.judged(rater) if rater is not None else {}
        return sorted(order, key=lambda prompt: max(judgements.get(prompt.id, 0), self._requests[prompt.id]))[:n]

    def _write(self, prompts: list[Prompt]) -> list[Triple]:
        """Stored pairs for these prompts. Two answers that read the same are no pair and are asked for again, `TRIES`
        times in all; then their prompt is passed over."""
        pairs: list[Triple] = []
        pending = prompts
        for _ in range(TRIES):
            if not pending or self._closed:
                break
            with self._changed:
                self._writing = True
            answers = self._write_two(pending)
            if len(answers) != len(pending):
                raise RuntimeError(f"The model was asked for {len(pending)} pairs of answers and gave {len(answers)}.")
            identical = [look_alike(first.text, second.text) for first, second in answers]
            pairs += self._store_answers(
                [(prompt, *two) for prompt, two, repeat in zip(pending, answers, identical, strict=True) if not repeat]
            )
            pending = [prompt for prompt, repeat in zip(pending, identical, strict=True) if repeat]
        for prompt in prompts:
            self._requests[prompt.id] += 1
        return pairs

    def _store_answers(self, pairs: list[Triple]) -> list[Triple]:
        unsaved = [replace(answer, prompt_id=prompt.id) for prompt, *two in pairs for answer in two if not answer.id]
        rows = iter(self._store.add_responses(unsaved))

        def with_id(answer: Response) -> Response:
            return answer if answer.id else next(rows)

        return [(prompt, with_id(first), with_id(second)) for prompt, first, second in pairs]

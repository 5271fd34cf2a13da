"""The queue of pairs: ahead of the rater, through errors, and fair to prompts."""

import threading
import time
from collections.abc import Callable

import pytest

from workbench.collect import pairs as pairs_module
from workbench.collect.pairs import PairQueue
from workbench.records import Prompt, Response
from workbench.store import Store


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)


class Writer:
    """Answers "<prompt> A n" and "<prompt> B n"; can be held, broken, or made to repeat itself."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.go = threading.Event()
        self.go.set()
        self.error: Exception | None = None
        self.same: set[str] = set()

    def __call__(self, prompts: list[Prompt]) -> list[tuple[Response, Response]]:
        self.calls.append([prompt.text for prompt in prompts])
        assert self.go.wait(20)
        if self.error:
            raise self.error
        n = len(self.calls)
        return [
            tuple(
                Response(0, prompt.id, f"{prompt.text} {'A' if prompt.text in self.same else side} {n}", "tiny")
                for side in "AB"
            )
            for prompt in prompts
        ]


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def queue(store: Store, writer: Writer):
    store.add_prompts([f"p{n}" for n in range(12)], "person")
    pair_queue = PairQueue(store, writer, ahead=6, seed=1)
    yield pair_queue
    writer.go.set()
    pair_queue.close()


def ready(queue: PairQueue, n: int) -> None:
    until(lambda: queue.state()["ready"] >= n and not queue.state()["writing"])


def test_pairs_are_written_ahead_and_refilled(store: Store, queue: PairQueue, writer: Writer):
    ready(queue, 6)
    assert queue.state() == {
        "ready": 6,
        "writing": False,
        "error": None,
        "target": 6,
        "done": 6,
        "passed": {},
        "identical": [],
    }
    (pair,) = queue.take("ada")
    assert {pair.left.text.split()[1], pair.right.text.split()[1]} == {"A", "B"}
    assert pair.left == store.response(pair.left.id) and pair.shown == (pair.left.id, pair.right.id)
    assert pair.left.prompt_id == pair.prompt.id
    until(lambda: queue.state()["done"] == 7)
    assert queue.state()["ready"] == 6
    assert max(len(call) for call in writer.calls) <= pairs_module.BATCH


def test_a_taker_is_not_held_up_while_the_model_writes(queue: PairQueue, writer: Writer):
    ready(queue, 6)
    writer.go.clear()
    first = queue.take("ada", 2)
    until(lambda: queue.state()["writing"])
    assert len(first) == 2 and len(queue.take("ada", 4)) == 4  # while write_two hangs
    assert queue.take("ada") == []  # nothing ready: at once nothing, no waiting
    writer.go.set()
    assert len(queue.take("ada", 1, timeout=20)) == 1


def test_no_pair_is_given_twice(queue: PairQueue):
    pairs: list[tuple[int, ...]] = []
    lock = threading.Lock()

    def take(name: str) -> None:
        for _ in range(10):
            for pair in queue.take(name, 1, timeout=20):
                with lock:
                    pairs.append(tuple(sorted(pair.shown)))

    threads = [threading.Thread(target=take, args=(f"rater {n}",)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pairs) >= 25 and len(set(pairs)) == len(pairs)


def test_an_error_is_told_and_got_over(queue: PairQueue, writer: Writer, monkeypatch: pytest.MonkeyPatch):
    ready(queue, 6)
    monkeypatch.setattr(pairs_module, "BACKOFF_SECONDS", (0.01,))
    writer.error = RuntimeError("the model ran out of memory")
    assert len(queue.take("ada", 3)) == 3
    until(lambda: queue.state()["error"] == "the model ran out of memory")
    assert len(queue.take("ada", 9)) == 3  # what was ready still is
    until(lambda: len(writer.calls) > 5)  # it goes on trying
    writer.error = None
    ready(queue, 6)
    assert queue.state()["error"] is None


def test_retry_does_not_wait_for_the_back_off(queue: PairQueue, writer: Writer, monkeypatch: pytest.MonkeyPatch):
    ready(queue, 6)
    monkeypatch.setattr(pairs_module, "BACKOFF_SECONDS", (3600.0,))
    writer.error = RuntimeError("gone")
    queue.take("ada", 3)
    until(lambda: queue.state()["error"])
    writer.error = None
    queue.retry()
    ready(queue, 6)


def test_a_wrong_number_of_answers_is_an_error(store: Store):
    store.add_prompts(["p"], "person")
    queue = PairQueue(store, lambda prompts: [])
    until(lambda: "gave 0" in (queue.state()["error"] or ""))
    queue.close()


def test_two_identical_answers_are_no_pair(queue: PairQueue, writer: Writer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pairs_module, "LOOK_SECONDS", 0.01)
    ready(queue, 6)
    writer.same = {f"p{n}" for n in range(12)} - {"p3"}
    calls = len(writer.calls)
    queue.clear()
    until(lambda: queue.state()["ready"] >= 2)
    assert [pair.prompt.text for pair in queue.take("ada", 2)] == ["p3", "p3"]
    retries = [text for call in writer.calls[calls:] for text in call if text == "p0"]
    assert len(retries) >= pairs_module.TRIES  # asked for again, then passed over
    (p3,) = (prompt.id for prompt in queue._store.prompts() if prompt.text == "p3")
    others = [prompt.id for prompt in queue._store.prompts() if prompt.id != p3]
    until(lambda: queue.state()["identical"] == others)  # and named
    writer.same = set()

    def differ() -> bool:
        queue.take("ada", 6)
        return not queue.state()["identical"]

    until(differ)  # until they have been asked for again


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("Four.", "Four.", True),
        ("", " \n", True),
        ("It is  four.\n", "It is four.", True),
        ("a\nb", "a \r\nb", True),
        ("a\nb", "a b", False),
        ("Four.", "four.", False),
    ],
)
def test_answers_that_look_the_same_are_the_same(first, second, same):
    assert pairs_module.look_alike(first, second) == same


def test_prompts_take_turns_and_unjudged_ones_come_first(store: Store, queue: PairQueue):
    ready(queue, 6)
    first = queue.take("ada", 6)
    assert len({pair.prompt.id for pair in first}) == 6
    for pair in first:
        ids = list(pair.shown)
        store.add_comparison(pair.prompt.id, ids, [[ids[0]], [ids[1]]], ids, "ada")
    ready(queue, 6)
    second = queue.take("ada", 6)
    assert not {pair.prompt.id for pair in first} & {pair.prompt.id for pair in second}


def test_a_rater_gets_what_that_rater_has_not_judged(store: Store, queue: PairQueue):
    ready(queue, 6)
    oldest = sorted({prompt.id for prompt in store.prompts()})[:3]
    for id in oldest:
        store.skip("ada", id)
    assert not {pair.prompt.id for pair in queue.take("ada", 3)} & set(oldest)
    assert {pair.prompt.id for pair in queue.take("bob", 3)} <= {prompt.id for prompt in store.prompts()}


def test_sides_are_drawn_at_random(queue: PairQueue):
    left = [pair.left.text.split()[1] for _ in range(60) for pair in queue.take("ada", 1, timeout=20)]
    assert 15 <= left.count("A") <= 45  # 60 fair coins: outside with probability 5e-5; the seed is fixed


def test_prompts_that_come_later_are_picked_up(store: Store, writer: Writer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pairs_module, "LOOK_SECONDS", 0.02)
    queue = PairQueue(store, writer)
    assert queue.take("ada") == [] and queue.state()["error"] is None
    store.add_prompts(["late"], "person")
    assert queue.take("ada", 1, timeout=20)[0].prompt.text == "late"
    queue.close()


def test_clear_throws_away_what_another_model_wrote(queue: PairQueue, writer: Writer):
    ready(queue, 6)
    writer.go.clear()
    queue.take("ada", 6)
    until(lambda: queue.state()["writing"])
    queue.clear()
    stale = len(writer.calls)
    writer.go.set()
    ready(queue, 6)
    assert all(int(pair.left.text.split()[2]) > stale for pair in queue.take("ada", 6))


def test_a_prompt_deleted_while_its_pairs_are_written_is_not_offered(store: Store, queue: PairQueue, writer: Writer):
    ready(queue, 6)
    writer.go.clear()
    n = len(writer.calls)
    queue.take("ada", 6)
    until(lambda: len(writer.calls) > n)
    prompt = next(prompt for prompt in store.prompts() if prompt.text == writer.calls[n][0])
    store.delete_prompt(prompt.id)
    queue.drop(prompt.id)
    writer.go.set()
    ready(queue, 6)
    assert prompt.id not in {pair.prompt.id for pair in queue.take("ada", 6)}


def test_close_ends_the_thread_even_while_it_rests(queue: PairQueue, writer: Writer):
    writer.error = RuntimeError("gone")
    until(lambda: queue.state()["ready"] == 6 or queue.state()["error"])
    queue.take("ada", 6)
    until(lambda: queue.state()["error"])
    queue.close()
    assert not queue._thread.is_alive()
    assert queue.take("ada", 1, timeout=5) == []


def test_prompts_too_long_for_the_model_are_passed_over_and_named(store: Store, writer: Writer):
    prompts = store.add_prompts([f"p{n}" for n in range(4)], "person")
    queue = PairQueue(
        store, writer, ahead=4, seed=1, too_long=lambda batch: {p.id: 900 for p in batch if p.text == "p1"}
    )
    ready(queue, 4)
    assert queue.state()["passed"] == {prompts[1].id: 900} and queue.state()["error"] is None
    assert not any("p1" in call for call in writer.calls)
    queue.close()

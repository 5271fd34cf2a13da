"""Wrong passwords: how long a name waits, and who does not."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.exceptions import HTTPException

from workbench.ui import attempts
from workbench.ui.access import checker
from workbench.ui.attempts import FREE, LONGEST, MAX_ENTRIES, Attempts


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_five_are_free_then_every_wrong_one_doubles_the_wait(clock):
    counter = Attempts(clock)
    waits = []
    for _ in range(FREE + 8):
        clock.now += counter.wait("ann", "a")
        waits.append(counter.wait("ann", "a"))
        counter.record("ann", "a", is_right=False)
        waits[-1] = counter.wait("ann", "a")
    assert waits == [0, 0, 0, 0, 5, 10, 20, 40, 80, 160, 300, 300, 300]
    clock.now += LONGEST - 1
    assert counter.wait("ann", "a") == 1


def test_the_right_password_and_an_hour_clear_the_wrong_ones(clock):
    counter = Attempts(clock)
    for _ in range(FREE):
        counter.record("ann", "a", is_right=False)
    clock.now += 10
    counter.record("ann", "a", is_right=True)
    counter.record("ann", "a", is_right=False)
    assert counter.wait("ann", "a") == 0
    for _ in range(FREE):
        counter.record("bob", "a", is_right=False)
    clock.now += 3601
    counter.record("bob", "a", is_right=False)
    assert counter.wait("bob", "a") == 0


def test_only_this_name_at_this_address_waits(clock):
    counter = Attempts(clock)
    for _ in range(100):
        counter.record("ann", "a", is_right=False)
    assert counter.wait("ann", "a") > 0
    assert counter.wait("ann", "b") == 0 and counter.wait("bob", "a") == 0


def test_names_made_up_by_the_million_take_no_more_memory(clock):
    counter = Attempts(clock)
    for i in range(MAX_ENTRIES + 100):
        counter.record(f"name {i}", "a", is_right=False)
    assert len(counter._failures) == MAX_ENTRIES


def finished(answer):
    """What a coroutine gives, in a thread of its own: a browser's test before may have left a loop running in this."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, answer).result()


def test_an_unknown_name_waits_like_a_known_one(clock):
    verify = attempts.guard(checker({"ann": "correct horse"}), Attempts(clock))

    def answers(name: str) -> list[str]:
        texts = []
        for _ in range(FREE + 2):
            try:
                texts.append(str(finished(verify(name, "wrong password"))))
            except HTTPException as error:
                assert error.status_code == 400 and error.headers == {"Retry-After": "5"}
                texts.append(error.detail)
        return texts

    assert answers("ann") == answers("nobody") == ["False"] * FREE + ["Too many wrong passwords. Try again in 5 s."] * 2
    clock.now += 6
    assert finished(verify("ann", "correct horse")) and not finished(verify("x" * 10_000, "wrong"))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_of_ipv6_a_whole_network_is_one_address(address, network):
    assert attempts.network(address) == network

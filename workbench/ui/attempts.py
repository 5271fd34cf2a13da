"""Wrong passwords: after a few of them a name waits, at the address that they came from and nowhere else.

So a password cannot be guessed by trying, and whoever tries locks out nobody but themselves: the same name at another
address, and other names at this one, come in as ever. Imports no gradio.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

FREE = 5  # wrong passwords in a row before the first wait
FIRST, LONGEST = 5.0, 300.0  # seconds to wait: doubled by every further wrong password
EXPIRY = 3600.0  # seconds after which a wrong password counts no more
MAX_ENTRIES = 50_000  # names and addresses remembered; to push one out takes as many requests
NAME = 100  # characters of a name that are remembered
NOTE = f"After {FREE} wrong passwords, wait before you try again: 5 seconds at first, later up to 5 minutes."

_address: ContextVar[str] = ContextVar("address", default="")


class Attempts:
    """Counts wrong passwords by (name, address). `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()  # how many, and when the last

    def wait(self, name: str, address: str) -> float:
        """Seconds until this name may be tried again from this address; 0 for now."""
        count, last = self._failures.get((name, address), (0, 0.0))
        if count < FREE:
            return 0.0
        pause = min(LONGEST, FIRST * 2.0 ** min(count - FREE, 30))
        return max(0.0, last + pause - self._clock())

    def record(self, name: str, address: str, is_right: bool) -> None:
        """Remember how a try went; the right password clears the wrong ones."""
        key, now = (name, address), self._clock()
        count, last = self._failures.pop(key, (0, now))
        if is_right:
            return
        self._failures[key] = (count + 1 if now - last < EXPIRY else 1, now)
        while len(self._failures) > MAX_ENTRIES:
            self._failures.popitem(last=False)


def guard(check: Callable[[str, str], bool], attempts: Attempts) -> Callable[[str, str], Awaitable[bool]]:
    """`check` for gradio's login: while a name has to wait its password is not even looked at.

    Raises HTTPException 400 then, since gradio's login page stays silent at any other status.
    """

    async def verify(name: str, password: str) -> bool:
        from starlette.exceptions import HTTPException

        address, account = _address.get(), name[:NAME]
        seconds = attempts.wait(account, address)
        if seconds > 0:
            text = f"Too many wrong passwords. Try again in {math.ceil(seconds)} s."
            raise HTTPException(400, text, headers={"Retry-After": str(math.ceil(seconds))})
        is_right = check(name, password)
        attempts.record(account, address, is_right)
        return is_right

    return verify


class ClientAddress:
    """ASGI middleware: remembers for the login which address a request comes from."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        _address.set(network(client[0]) if client else "")
        await self.app(scope, receive, send)


def network(address: str) -> str:
    """The address; of IPv6 its first 64 bits, since one home has all the others."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))

"""Proxies for web traffic do not lead to this machine's own server, which gradio calls as it starts. Imports no gradio."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from workbench.ui.access import LOOPBACK

NAMES = ("no_proxy", "NO_PROXY")


@contextmanager
def not_for_loopback(elsewhere_too: bool) -> Iterator[None]:
    """While the server starts: no proxy towards loopback. With `elsewhere_too` other hosts are still reached by one.

    Without it the proxies are off altogether, since httpx fails on a SOCKS proxy that it would not even use. Jobs and
    downloads come later and have their proxies again.
    """
    before = {name: os.environ.get(name) for name in NAMES}
    listed = [host for host in (before["no_proxy"] or before["NO_PROXY"] or "").split(",") if host.strip()]
    value = ",".join([*listed, *sorted(LOOPBACK)]) if elsewhere_too else "*"
    os.environ.update(dict.fromkeys(NAMES, value))
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                del os.environ[name]
            else:
                os.environ[name] = old

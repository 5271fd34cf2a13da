"""Proxies for web traffic do not lead to this machine's own server, which gradio calls as it starts. Imports no gradio."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from workbench.ui.access import LOOPBACK

NAMES = ("no_proxy", "NO_PROXY")


@contextmanager
def exempt_loopback(for_other_hosts: bool) -> Iterator[None]:
    """While the server starts: no proxy towards loopback. With `for_other_hosts` other hosts are still reached by one.

    Without it the proxies are off altogether, since httpx fails on a SOCKS proxy that it would not even use. Jobs and
    downloads come later and have their proxies again.
    """
    environment = {name: os.environ.get(name) for name in NAMES}
    hosts = [host for host in (environment["no_proxy"] or environment["NO_PROXY"] or "").split(",") if host.strip()]
    value = ",".join([*hosts, *sorted(LOOPBACK)]) if for_other_hosts else "*"
    os.environ.update(dict.fromkeys(NAMES, value))
    try:
        yield
    finally:
        for name, value_before in environment.items():
            if value_before is None:
                del os.environ[name]
            else:
                os.environ[name] = value_before

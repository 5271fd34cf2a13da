"""Write docs/settings.md from the methods' dataclasses: `python docs/write_settings.py`. A test holds it up to date."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from workbench.learn.catalogue import METHODS, PRESETS, fields_of  # noqa: E402


def limits(f: dict[str, Any]) -> str:
    if f["choices"]:
        return ", ".join(f["choices"])
    if f["low"] is None and f["high"] is None:
        return ""
    return f"{f['low']:g} to {f['high']:g}" if f["high"] is not None else f"from {f['low']:g}"


def default(f: dict[str, Any]) -> str:
    if f["presets"]:
        return ", ".join(f"{preset} {f['presets'].get(preset, f['value'])}" for preset in PRESETS)
    return "chosen" if f["value"] is None else f"{f['value']}"


def text() -> str:
    """The whole page: a table per method."""
    lines = [
        "# Settings of the training methods",
        "",
        "Written by `python docs/write_settings.py` from the dataclasses in `workbench/learn/catalogue`, which also make the",
        "page's form, the command line's `--set NAME=VALUE` and the config that a run saves. \"chosen\" is decided for the",
        "model at hand; the run's config says what was chosen and why.",
    ]
    for name, method in METHODS.items():
        lines += [
            "",
            f"## {method.label} (`{name}`)",
            "",
            "| setting | default | limits | what it does |",
            "|---|---|---|---|",
        ]
        for f in fields_of(name):
            unit = f" ({f['unit']})" if f["unit"] else ""
            lines.append(f"| `{f['name']}` | {default(f)} | {limits(f)} | {f['doc']}{unit} |")
    lines += [
        "",
        "## When a run counts as hung",
        "",
        "A job gives a sign of life with every micro-batch, every sampled token, every call of the reward and every batch of",
        "an evaluation. Without one for 180 seconds, or for 20 times the longest pause so far if that is longer, it is ended",
        "and the page says at which step; it can be resumed. Ten times as long is allowed where a job cannot tell: while the",
        "model loads, in a reward function, and until the first sign of the first step. The environment variable",
        "`WORKBENCH_HANG_SECONDS` replaces the 180, for the server and its jobs alike.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "settings.md").write_text(text(), encoding="utf-8")

"""A run's card: README.md in its folder, written when it is prepared and again with its result. Imports no torch."""

from __future__ import annotations

from typing import Any

from workbench.learn.catalogue import METHODS


def write(config: dict[str, Any], result: dict[str, Any] | None = None) -> str:
    """The card as Markdown, with the front matter that the Hugging Face Hub reads."""
    m = METHODS[config["method"]]
    d = config["data"]
    start = f"run {config['parent']}" if config["parent"] else "the base"
    simulated = f", {d['simulated']} of them by simulated raters" if d["simulated"] else ""
    lines = [
        "---",
        "library_name: peft",
        f"base_model: {config['model']}",
        f"tags: [lora, {m.name}]",
        "---",
        f"# {m.label}, run {config['number']}",
        "",
        f"A LoRA adapter for `{config['model']}`, trained with {m.label} from {start} on {d['train']} {m.unit}{simulated}; "
        f"{d['heldout']} more were held out.",
        *(["", f"Started all the same although {'; '.join(config['despite'])}"] if config.get("despite") else []),
        "",
        "Repeat it with:",
        "",
        f"    {config['command']}",
        "",
        f"The data is frozen in `data/` (hash {d['hash']}), seed {config['seed']}. Made {config['created']} with "
        + ", ".join(f"{k} {v}" for k, v in config["versions"].items())
        + ".",
        "",
        "| setting | value | |",
        "|---|---|---|",
    ]
    lines += [f"| {k} | {v} | {config['reasons'].get(k, '')} |" for k, v in config["args"].items()]
    if result:
        lines += ["", "## Result", "", *(f"- {line}" for line in _result(result))]
    return "\n".join(lines) + "\n"


def _result(result: dict[str, Any]) -> list[str]:
    lines = [f"{result['steps']} steps in {result['seconds']:.0f} s, peak memory {result['peak_mb']:.0f} MB"]
    for key, label in (
        ("gold", "Gold score on held-out prompts, 0 to 1"),
        ("heldout_loss", "Held-out loss, nats per token"),
        ("accuracy", "Held-out judgements met, share"),
        ("answers", "Held-out answers judged right as a whole, share"),
        ("kl", "Distance from the start, nats per answer"),
    ):
        if result.get(key) is not None:
            low, high, n = (result.get(f"{key}_{part}") for part in ("low", "high", "n"))
            lines.append(f"{label}: {result[key]:.3f} ({low:.3f} to {high:.3f}, n {n})")
    return lines

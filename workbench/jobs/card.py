"""A run's card: README.md in its folder, written when it is prepared and again with its result. Imports no torch."""

from __future__ import annotations

from workbench.learn.catalogue import METHODS
from workbench.learn.run_files import RunConfig, RunResult
from workbench.records import how_many


def write(config: RunConfig, result: RunResult | None = None) -> str:
    """The card as Markdown, with the front matter that the Hugging Face Hub reads."""
    m = METHODS[config.method]
    d = config.data
    start = f"run {config.parent}" if config.parent else "the base"
    simulated = f", {d.simulated:,} of them by simulated raters" if d.simulated else ""
    lines = [
        "---",
        "library_name: peft",
        f"base_model: {config.model}",
        f"tags: [lora, {m.name}]",
        "---",
        f"# {m.label}, run {config.number}",
        "",
        f"A LoRA adapter for `{config.model}`, trained with {m.label} from {start} on {how_many(d.train, m.unit)}{simulated}; "
        f"{d.heldout:,} more held out.",
        *(["", f"Started anyway although {'; '.join(config.despite)}"] if config.despite else []),
        "",
        "To repeat it:",
        "",
        f"    {config.command}",
        "",
        f"The data is frozen in `data/` (hash {d.hash}), seed {config.seed}. Made {config.created} with "
        + ", ".join(f"{k} {v}" for k, v in config.versions.items())
        + ".",
        "",
        "| setting | value | |",
        "|---|---|---|",
    ]
    lines += [f"| {k} | {v} | {config.reasons.get(k, '')} |" for k, v in config.args.items()]
    if result:
        lines += ["", "## Result", "", *(f"- {line}" for line in _result(result))]
    return "\n".join(lines) + "\n"


def _result(result: RunResult) -> list[str]:
    lines = [f"{result.steps} steps in {result.seconds:.0f} s, peak memory {result.peak_mb:.0f} MB"]
    for figure, label in (
        (result.figure("gold"), "Gold score on held-out prompts, 0 to 1"),
        (result.figure("base_gold"), "The base's gold score on the same prompts"),
        (result.figure("heldout_loss"), "Held-out loss, nats per token"),
        (result.figure("accuracy"), "Share of held-out judgements matched"),
        (result.figure("answers"), "Share of held-out answers judged correctly as a whole"),
        (result.figure("kl"), "KL from the starting point, nats per answer"),
    ):
        if figure is not None:
            lines.append(f"{label}: {figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}, n {figure.n})")
    return lines

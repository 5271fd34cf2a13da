"""Demonstrate: write the ideal answer to a prompt. The page's functions; its looks are in static/demonstrate.js."""

from __future__ import annotations

import base64
import binascii
import tempfile
from pathlib import Path
from typing import Any

from workbench.collect.prompts import next_to_write, starter
from workbench.records import Demonstration
from workbench.store import Conflict
from workbench.ui.context import Context, Refused
from workbench.ui.overview import WRITE_GOAL
from workbench.ui.payload import read_number, read_text, read_token, takes
from workbench.ui.shell import panel

LISTED = 400  # prompts in the list at once; the rest is reached as these are answered
SHORT = 200  # characters of a prompt in the list
FILE_MB = 20  # larger files are for the command line, which reads them in pieces
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz", ".zst", ".xz", ".bz2")


@takes()
def demonstrations(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The list of prompts with what is written for each, and how far this rater is."""
    rater = payload["rater"]
    by_prompt: dict[int, list[Demonstration]] = {}
    for demonstration in context.store.demonstrations():
        by_prompt.setdefault(demonstration.prompt_id, []).append(demonstration)
    drafts = context.store.drafts(rater)
    prompts = context.store.prompts()
    # the unanswered ones are never crowded out of the list by those that are done
    open_prompts = [prompt for prompt in prompts if prompt.id not in by_prompt]
    done_prompts = [prompt for prompt in prompts if prompt.id in by_prompt]
    rows = sorted(
        open_prompts[:LISTED] + done_prompts[-max(0, LISTED - len(open_prompts)) :][:LISTED],
        key=lambda prompt: prompt.id,
    )
    lengths = context.too_long([prompt.text for prompt in prompts])
    next_prompt = next_to_write(context.store, rater, lengths)
    return {
        "prompts": [
            {
                "id": prompt.id,
                "text": prompt.text[:SHORT],
                "answers": len(by_prompt.get(prompt.id, [])),
                "draft": prompt.id in drafts,
                "too_long": prompt.text in lengths,
            }
            for prompt in rows
        ],
        "total": len(prompts),
        "place": context.key,
        "next": next_prompt.id if next_prompt else None,
        **progress(context),
    }


def progress(context: Context) -> dict[str, Any]:
    """How many answers there are, and in one sentence what they buy next."""
    counts = context.store.counts()
    total, simulated = counts["demonstrations"], counts["simulated_demonstrations"]
    return {"written": total, "simulated": simulated, "goal": WRITE_GOAL, "buys": advice(total)}


def advice(total: int) -> str:
    """What the next answers are good for, without a figure that was not measured here."""
    if total < WRITE_GOAL:
        return f"After about {WRITE_GOAL} answers, a first SFT run can pick up your tone and length."
    if total < 150:
        return "Enough for a first SFT run. More answers to more kinds of prompts make its effect larger and steadier."
    return "Plenty for SFT. From here on, ranking teaches more per minute than writing."


@takes("prompt", id=int)
def open_prompt(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """One prompt in full: the answers written for it, this rater's draft, and the model's last answer if any."""
    prompt = context.store.prompt(read_number(payload, "id"))
    answers = [
        demonstration for demonstration in context.store.demonstrations() if demonstration.prompt_id == prompt.id
    ]
    return {
        "id": prompt.id,
        "text": prompt.text,
        "heldout": prompt.split == "heldout",
        "too_long": length_warning(context, [prompt.text]),
        "answers": [answer_row(demonstration, payload["rater"]) for demonstration in answers],
        "draft": context.store.drafts(payload["rater"]).get(prompt.id, ""),
    }


def answer_row(demonstration: Demonstration, rater: str) -> dict[str, Any]:
    """One written answer as the page shows it."""
    who = "simulated" if demonstration.simulated else "you" if demonstration.rater == rater else demonstration.rater
    return {
        "id": demonstration.id,
        "text": demonstration.text,
        "version": demonstration.version,
        "who": who,
        "source": demonstration.source,
    }


@takes("model_answer", id=int, again=bool | None)
def model_says(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """What the base answers now: its stored answer, or a new one when there is none or `again` is asked for."""
    prompt = context.store.prompt(read_number(payload, "id"))
    if context.model_state == "failed":
        raise Refused(context.loading())
    if context.model_state != "ready":
        return {"loading": context.loading()}
    if not payload.get("again"):
        answers = [
            response
            for response in context.store.responses(prompt.id)
            if response.author == "model" and response.run is None and response.model == context.settings.model
        ]
        if answers:
            return {"id": answers[-1].id, "text": answers[-1].text}
    (response,) = context.store.add_responses(context.answer([prompt]))
    return {"id": response.id, "text": response.text}


@takes(prompt_id=int, text=str, draft_of=int | None, token=str | None)
def save_demonstration(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Store a new answer (sending it twice stores it once) and clear its draft."""
    draft_of = payload.get("draft_of")
    demonstration = context.store.add_demonstration(
        read_number(payload, "prompt_id"),
        read_text(payload, "text").strip(),
        payload["rater"],
        draft_of=None if draft_of is None else read_number(payload, "draft_of"),
        token=read_token(payload),
    )
    return {"saved": answer_row(demonstration, payload["rater"]), **progress(context)}


@takes(id=int, text=str, version=int)
def edit_demonstration(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Change an answer that was read at `version`. When somebody changed it since, say so and show theirs."""
    id = read_number(payload, "id")
    try:
        demonstration = context.store.edit_demonstration(
            id, read_text(payload, "text").strip(), read_number(payload, "version")
        )
    except Conflict as conflict:
        current = next((row for row in context.store.demonstrations() if row.id == id), None)
        return {"conflict": str(conflict), "theirs": answer_row(current, payload["rater"]) if current else None}
    context.store.save_draft(payload["rater"], demonstration.prompt_id, "")
    return {"saved": answer_row(demonstration, payload["rater"]), **progress(context)}


@takes(id=int)
def delete_demonstration(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Take an answer out; it can be brought back."""
    context.store.delete_demonstration(read_number(payload, "id"))
    return progress(context)


@takes(id=int)
def restore_demonstration(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Bring a deleted answer back."""
    context.store.restore_demonstration(read_number(payload, "id"))
    return progress(context)


@takes(prompt_id=int, text=str)
def save_draft(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Keep what this rater is writing; an empty text removes the draft."""
    text = read_text(payload, "text", empty_ok=True)
    context.store.save_draft(payload["rater"], read_number(payload, "prompt_id"), text)
    return {"kept": bool(text)}


@takes(prompt_id=int)
def skip_prompt(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Pass over this prompt: it comes last from now on."""
    context.store.skip(payload["rater"], read_number(payload, "prompt_id"), "demonstration")
    lengths = context.too_long([prompt.text for prompt in context.store.prompts()])
    next_prompt = next_to_write(context.store, payload["rater"], lengths)
    return {"next": next_prompt.id if next_prompt else None}


@takes("add_sample_prompts")
def use_starter(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Put the prompts that come with the workbench into the list."""
    prompts = context.store.add_prompts(starter(30), "sandbox")
    return {"added": len(prompts)}


@takes(text=str)
def add_prompts(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """One prompt per pasted line; empty lines are passed over, known prompts stay as they are.

    Lines that the model cannot read come back as "rest", with "why"; they are not stored. ("known" counts a line that
    is there twice, too.)
    """
    lines = [line.strip() for line in read_text(payload, "text").splitlines() if line.strip()]
    lengths = context.too_long(lines)
    short_lines = [line for line in lines if line not in lengths]
    count_before = context.store.counts()["prompts"]
    prompts = context.store.add_prompts(short_lines, "person")
    new_count = context.store.counts()["prompts"] - count_before
    first = prompts[0].id if prompts else None
    report = {"rest": "\n".join(lengths), "why": length_warning(context, lines)}
    return {"added": new_count, "known": len(prompts) - new_count, "first": first} | report


def length_warning(context: Context, texts: list[str]) -> str:
    """Which of these prompts are too long for the model, in one sentence; "" when none is, or it is still loading."""
    lengths = context.too_long(texts)
    if not lengths:
        return ""
    subject = "This prompt is" if len(lengths) == 1 else f"{len(lengths)} prompts are"
    prefix = "" if len(lengths) == 1 else "the longest has "
    return f"{subject} too long: {prefix}{max(lengths.values()):,} tokens; {context.prompt_limit()}."


@takes(id=int)
def delete_prompt(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Take a prompt out, with the answers and choices that belong to it; it can be brought back."""
    id = read_number(payload, "id")
    context.store.delete_prompt(id)
    if context.model_state == "ready":
        context.pairs.drop(id)
    return progress(context)


@takes(id=int)
def restore_prompt(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Bring a deleted prompt back, with all that belongs to it."""
    context.store.restore_prompt(read_number(payload, "id"))
    return progress(context)


@takes(name=str, data=str)
def import_file(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Read a file of prompts, demonstrations, comparisons or labelled steps (base64); its kind and format are recognised."""
    from workbench.collect import formats

    name = Path(read_text(payload, "name", longest=255).replace("\\", "/")).name
    suffixes = [suffix.lower() for suffix in Path(name).suffixes[-2:]]  # .jsonl.gz
    if not suffixes or suffixes[-1] not in SUFFIXES:
        raise Refused(f"{name}: only {', '.join(SUFFIXES)} files can be imported.")
    data = payload["data"]
    if len(data) > FILE_MB * 1.4e6:
        raise Refused(
            f"{name} is larger than {FILE_MB} MB. Import it on the command line: python -m workbench import FILE"
        )
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise Refused(f"{name} did not arrive complete. Choose it again.") from error
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"import{''.join(suffix for suffix in suffixes if suffix in SUFFIXES)}"
        file.write_bytes(content)
        report = formats.import_file(context.store, file, name=name, limit_mb=FILE_MB)
    return {
        "kind": report.what,
        "format": report.format,
        "added": report.added,
        "known": report.known,
        "bad": [{"line": fault.line, "reason": fault.reason} for fault in report.bad[:20]],
        "bad_total": len(report.bad),
        "remarks": report.remarks,
        **progress(context),
    }


FUNCTIONS = [
    demonstrations,
    open_prompt,
    model_says,
    save_demonstration,
    edit_demonstration,
    delete_demonstration,
    restore_demonstration,
    save_draft,
    skip_prompt,
    use_starter,
    add_prompts,
    delete_prompt,
    restore_prompt,
    import_file,
]


def tab(context: Context) -> None:
    """Build the tab."""
    panel(context, "demonstrate", FUNCTIONS)

"""Demonstrate: write the ideal answer to a prompt. The page's functions; its looks are in static/demonstrate.js."""

from __future__ import annotations

import base64
import binascii
import tempfile
from pathlib import Path
from typing import Any

from workbench.collect import prompts as choice
from workbench.records import Demonstration
from workbench.store import Conflict
from workbench.ui import payload as sent
from workbench.ui.context import Context, Refused
from workbench.ui.overview import WRITE_GOAL
from workbench.ui.payload import takes
from workbench.ui.shell import panel

LISTED = 400  # prompts in the list at once; the rest is reached as these are answered
SHORT = 200  # characters of a prompt in the list
FILE_MB = 20  # larger files are for the command line, which reads them in pieces
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz", ".zst", ".xz", ".bz2")


@takes()
def demonstrations(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The list of prompts with what is written for each, and how far this rater is."""
    rater = payload["rater"]
    written: dict[int, list[Demonstration]] = {}
    for each in context.store.demonstrations():
        written.setdefault(each.prompt_id, []).append(each)
    drafts = context.store.drafts(rater)
    everything = context.store.prompts()
    # the unanswered ones are never crowded out of the list by those that are done
    todo = [prompt for prompt in everything if prompt.id not in written]
    done = [prompt for prompt in everything if prompt.id in written]
    listed = sorted(todo[:LISTED] + done[-max(0, LISTED - len(todo)) :][:LISTED], key=lambda prompt: prompt.id)
    long = context.too_long([prompt.text for prompt in everything])
    following = choice.next_to_write(context.store, rater, long)
    return {
        "prompts": [
            {
                "id": prompt.id,
                "text": prompt.text[:SHORT],
                "answers": len(written.get(prompt.id, [])),
                "draft": prompt.id in drafts,
                "too_long": prompt.text in long,
            }
            for prompt in listed
        ],
        "total": len(everything),
        "place": context.key,
        "next": following.id if following else None,
        **progress(context),
    }


def progress(context: Context) -> dict[str, Any]:
    """How many answers there are, and in one sentence what they buy next."""
    counts = context.store.counts()
    total, simulated = counts["demonstrations"], counts["simulated_demonstrations"]
    return {"written": total, "simulated": simulated, "goal": WRITE_GOAL, "buys": buys(total)}


def buys(written: int) -> str:
    """What the next answers are good for, without a figure that was not measured here."""
    if written < WRITE_GOAL:
        return f"After about {WRITE_GOAL} answers, a first SFT run can pick up your tone and length."
    if written < 150:
        return "Enough for a first SFT run. More answers to more kinds of prompts make its effect larger and steadier."
    return "Plenty for SFT. From here on, ranking teaches more per minute than writing."


@takes(id=int)
def open_prompt(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """One prompt in full: the answers written for it, this rater's draft, and the model's last answer if any."""
    prompt = context.store.prompt(sent.number(payload, "id"))
    answers = [each for each in context.store.demonstrations() if each.prompt_id == prompt.id]
    return {
        "id": prompt.id,
        "text": prompt.text,
        "heldout": prompt.split == "heldout",
        "too_long": too_long(context, [prompt.text]),
        "answers": [row(each, payload["rater"]) for each in answers],
        "draft": context.store.drafts(payload["rater"]).get(prompt.id, ""),
    }


def row(each: Demonstration, rater: str) -> dict[str, Any]:
    """One written answer as the page shows it."""
    who = "simulated" if each.simulated else "you" if each.rater == rater else each.rater
    return {"id": each.id, "text": each.text, "version": each.version, "who": who, "source": each.source}


@takes(id=int, again=bool | None)
def model_says(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """What the base answers now: its stored answer, or a new one when there is none or `again` is asked for."""
    prompt = context.store.prompt(sent.number(payload, "id"))
    if context.model_state == "failed":
        raise Refused(context.loading())
    if context.model_state != "ready":
        return {"loading": context.loading()}
    if not payload.get("again"):
        known = [
            each
            for each in context.store.responses(prompt.id)
            if each.author == "model" and each.run is None and each.model == context.settings.model
        ]
        if known:
            return {"id": known[-1].id, "text": known[-1].text}
    (stored,) = context.store.add_responses(context.answer([prompt]))
    return {"id": stored.id, "text": stored.text}


@takes(prompt_id=int, text=str, draft_of=int | None, token=str)
def save_demonstration(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Store a new answer (sending it twice stores it once) and clear its draft."""
    draft_of = payload.get("draft_of")
    saved = context.store.add_demonstration(
        sent.number(payload, "prompt_id"),
        sent.words(payload, "text").strip(),
        payload["rater"],
        draft_of=None if draft_of is None else sent.number(payload, "draft_of"),
        token=sent.token(payload),
    )
    return {"saved": row(saved, payload["rater"]), **progress(context)}


@takes(id=int, text=str, version=int)
def edit_demonstration(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Change an answer that was read at `version`. When somebody changed it since, say so and show theirs."""
    id = sent.number(payload, "id")
    try:
        saved = context.store.edit_demonstration(
            id, sent.words(payload, "text").strip(), sent.number(payload, "version")
        )
    except Conflict as conflict:
        theirs = next((each for each in context.store.demonstrations() if each.id == id), None)
        return {"conflict": str(conflict), "theirs": row(theirs, payload["rater"]) if theirs else None}
    context.store.save_draft(payload["rater"], saved.prompt_id, "")
    return {"saved": row(saved, payload["rater"]), **progress(context)}


@takes(id=int)
def delete_demonstration(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Take an answer out; it can be brought back."""
    context.store.delete_demonstration(sent.number(payload, "id"))
    return progress(context)


@takes(id=int)
def restore_demonstration(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Bring a deleted answer back."""
    context.store.restore_demonstration(sent.number(payload, "id"))
    return progress(context)


@takes(prompt_id=int, text=str)
def save_draft(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Keep what this rater is writing; an empty text removes the draft."""
    text = sent.words(payload, "text", empty_ok=True)
    context.store.save_draft(payload["rater"], sent.number(payload, "prompt_id"), text)
    return {"kept": bool(text)}


@takes(prompt_id=int)
def skip_prompt(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Pass over this prompt: it comes last from now on."""
    context.store.skip(payload["rater"], sent.number(payload, "prompt_id"), "demonstration")
    long = context.too_long([prompt.text for prompt in context.store.prompts()])
    following = choice.next_to_write(context.store, payload["rater"], long)
    return {"next": following.id if following else None}


@takes()
def use_starter(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Put the prompts that come with the workbench into the list."""
    added = context.store.add_prompts(choice.starter(30), "sandbox")
    return {"added": len(added)}


@takes(text=str)
def add_prompts(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """One prompt per pasted line; empty lines are passed over, known prompts stay as they are.

    Lines that the model cannot read come back as "rest", with "why"; they are not stored. ("known" counts a line that
    is there twice, too.)
    """
    lines = [line.strip() for line in sent.words(payload, "text").splitlines() if line.strip()]
    long = context.too_long(lines)
    fit = [line for line in lines if line not in long]
    before = context.store.counts()["prompts"]
    added = context.store.add_prompts(fit, "person")
    new = context.store.counts()["prompts"] - before
    first = added[0].id if added else None
    rest = {"rest": "\n".join(long), "why": too_long(context, lines)}
    return {"added": new, "known": len(added) - new, "first": first} | rest


def too_long(context: Context, texts: list[str]) -> str:
    """Which of these prompts are too long for the model, in one sentence; "" when none is, or it is still loading."""
    long = context.too_long(texts)
    if not long:
        return ""
    which = "This prompt is" if len(long) == 1 else f"{len(long)} prompts are"
    most = "" if len(long) == 1 else "the longest has "
    return f"{which} too long: {most}{max(long.values()):,} tokens; {context.reads()}."


@takes(id=int)
def delete_prompt(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Take a prompt out, with the answers and choices that belong to it; it can be brought back."""
    id = sent.number(payload, "id")
    context.store.delete_prompt(id)
    if context.model_state == "ready":
        context.pairs.drop(id)
    return progress(context)


@takes(id=int)
def restore_prompt(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Bring a deleted prompt back, with all that belongs to it."""
    context.store.restore_prompt(sent.number(payload, "id"))
    return progress(context)


@takes(name=str, data=str)
def import_file(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Read a file of prompts, demonstrations, comparisons or labelled steps (base64); its kind and format are recognised."""
    from workbench.collect import formats

    name = Path(sent.words(payload, "name", longest=255).replace("\\", "/")).name
    suffixes = [each.lower() for each in Path(name).suffixes[-2:]]  # .jsonl.gz
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
        file = Path(folder) / f"import{''.join(each for each in suffixes if each in SUFFIXES)}"
        file.write_bytes(content)
        report = formats.import_file(context.store, file, name=name, limit_mb=FILE_MB)
    return {
        "kind": report.what,
        "format": report.format,
        "added": report.added,
        "known": report.known,
        "bad": [{"line": bad.line, "reason": bad.reason} for bad in report.bad[:20]],
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

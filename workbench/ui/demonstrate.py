"""Demonstrate: write the ideal answer to a prompt. The page's functions; its looks are in static/demonstrate.js."""

from __future__ import annotations

import re
from typing import Any

from workbench.collect.prompts import next_to_write, starter
from workbench.records import Demonstration
from workbench.store import Conflict
from workbench.ui.context import Context, Refused
from workbench.ui.importing import import_file
from workbench.ui.overview import WRITE_GOAL
from workbench.ui.payload import read_number, read_text, read_token, takes
from workbench.ui.shell import panel

LISTED = 400  # prompts in the list at once; the rest is reached as these are answered
SHORT = 200  # characters of a prompt in the list
BETWEEN = re.compile(r"^[ \t]*-{3,}[ \t]*$", re.MULTILINE)  # a line of dashes, between prompts of several lines


@takes()
def demonstrations(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The list of prompts with what is written for each, and how far this rater is.

    A row has all that is needed to begin an answer at once: `cut` says that its text is longer, `draft` is this rater's.
    """
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
                "cut": len(prompt.text) > SHORT,
                "answers": len(by_prompt.get(prompt.id, [])),
                "draft": drafts.get(prompt.id, ""),
                "too_long": prompt.text in lengths,
                "heldout": prompt.split == "heldout",
            }
            for prompt in rows
        ],
        "total": len(prompts),
        "heldout": sum(prompt.split == "heldout" for prompt in open_prompts),
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


@takes(prompt_id=int, text=str, draft_of=int | None, token=str | None, seen=list[int] | None)
def save_demonstration(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Store a new answer (sending it twice stores it once) and clear its draft.

    `seen` are the ids of the answers that the page showed when this one was begun. When this rater has stored another
    one since, say so and show it; nothing is stored.
    """
    draft_of, seen, rater = payload.get("draft_of"), payload.get("seen"), payload["rater"]
    prompt_id = read_number(payload, "prompt_id")
    try:
        demonstration = context.store.add_demonstration(
            prompt_id,
            read_text(payload, "text").strip(),
            rater,
            draft_of=None if draft_of is None else read_number(payload, "draft_of"),
            token=read_token(payload),
            seen=seen,
        )
    except Conflict as conflict:
        own = [row for row in context.store.demonstrations() if (row.prompt_id, row.rater) == (prompt_id, rater)]
        unseen = [row for row in own if not row.simulated and row.id not in (seen or [])]
        return {"conflict": str(conflict), "theirs": answer_row(unseen[-1], rater) if unseen else None}
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


@takes(text=str, several_lines=bool | None)
def add_prompts(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """One prompt per pasted line, or with `several_lines` per part between lines of dashes (---).

    Empty lines and parts are passed over, known prompts stay as they are. Prompts that the model cannot read come back
    as "rest", with "why"; they are not stored. ("known" counts a prompt that is there twice, too.)
    """
    text, several_lines = read_text(payload, "text"), bool(payload.get("several_lines"))
    parts = BETWEEN.split("\n".join(text.splitlines())) if several_lines else text.splitlines()
    texts = [part.strip() for part in parts if part.strip()]
    if not texts:
        raise Refused("There is no prompt between the lines of dashes.")
    lengths = context.too_long(texts)
    count_before = context.store.counts()["prompts"]
    prompts = context.store.add_prompts([each for each in texts if each not in lengths], "person")
    new_count = context.store.counts()["prompts"] - count_before
    first = prompts[0].id if prompts else None
    rest = ("\n---\n" if several_lines else "\n").join(lengths)
    report = {"rest": rest, "why": length_warning(context, texts)}
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
    panel(context, "demonstrate", FUNCTIONS, before=("markdown", "importing"))

"""Rank, step by step: one answer of the model, each of its steps judged. The page's functions; its looks are in
static/stepwise.js."""

from __future__ import annotations

from collections import Counter
from typing import Any

from workbench.collect import simulated
from workbench.collect.steps import SPLITS, split_for
from workbench.records import Prompt, StepLabels
from workbench.ui.context import Context, Refused
from workbench.ui.payload import read_number, read_seconds, read_token, takes

BATCH = 20  # prompts added by "Write answers"
LAST = 20  # of one's own answers, which can be undone
TRIES = 3  # how often an answer that was judged already, or is empty, is asked for again


@takes("step_labels")
def steps_state(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """How many answers this rater judged, the last of them, and what else there is."""
    own_labels = [row for row in context.store.step_labels() if row.rater == payload["rater"] and not row.simulated]
    counts = context.store.counts()
    return {
        "place": context.key,
        "mine": len(own_labels),
        "all": counts["step_labels"],
        "simulated": counts["simulated_step_labels"],
        "sandbox": context.settings.model == "sandbox",
        "last": [
            {"id": row.id, "labels": list(row.labels), "item": _item(row.prompt_id, row.prompt, list(row.steps))}
            for row in own_labels[-LAST:]
            if row.source == "person"
        ],
    }


@takes("next_steps", have=list[int] | None)
def steps_next(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """An answer to judge: of the prompt this rater judged or skipped least, none of those in `have`."""
    have = payload.get("have") or []
    answer: dict[str, Any] = {"item": None, "empty": False, "loading": context.loading()}
    prompts = _prompts(context)
    if not prompts:
        return {**answer, "empty": True, "loading": ""}
    if context.model_state == "failed":
        raise Refused(context.loading())
    if answer["loading"]:
        return answer
    labels = context.store.step_labels()
    counts = Counter(row.prompt_id for row in labels if row.rater == payload["rater"])
    counts.update(context.store.skips(payload["rater"], "steps"))
    prompt = min(prompts, key=lambda each: (each.id in have, counts[each.id], each.id))
    return answer | {"item": _new_item(context, prompt, labels)}


def _new_item(context: Context, prompt: Prompt, labels: list[StepLabels]) -> dict[str, Any]:
    split = SPLITS[split_for(context.settings.model)]
    past_answers = {row.answer for row in labels if row.prompt_id == prompt.id}
    steps: list[str] = []
    for _ in range(TRIES):
        steps = split(context.answer([prompt])[0].text) or steps
        if steps and "".join(steps) not in past_answers:
            break
    return _item(prompt.id, prompt.text, steps or ["(empty answer)"])


def _item(prompt_id: int, prompt: str, steps: list[str]) -> dict[str, Any]:
    return {"prompt_id": prompt_id, "prompt": prompt, "steps": steps}


def _prompts(context: Context) -> list[Prompt]:
    """What is asked: all prompts; of the bundled model those which it answers in steps, sums and word problems."""
    prompts = context.store.prompts()
    if context.settings.model != "sandbox":
        lengths = context.too_long([prompt.text for prompt in prompts])
        return [prompt for prompt in prompts if prompt.text not in lengths]
    from workbench.sandbox.world import find

    matches = ((prompt, find(prompt.text)) for prompt in prompts)
    return [
        prompt
        for prompt, world_prompt in matches
        if world_prompt is not None and world_prompt.kind in ("sum", "problem")
    ]


@takes("add_step_prompts")
def steps_more(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Put some sums and word problems into the list, for the bundled model to answer."""
    if context.settings.model != "sandbox":
        raise Refused("Add your own prompts first, on Demonstrate.")
    from workbench.sandbox.world import find, sample

    texts_here = {prompt.text for prompt in context.store.prompts()}
    candidates = [p.text for split in ("train", "heldout") for p in sample(400, split, seed=len(texts_here))]
    new_texts = [
        t for t in candidates if t not in texts_here and (match := find(t)) and match.kind in ("sum", "problem")
    ]
    context.store.add_prompts(new_texts[:BATCH], "sandbox")
    return {"added": len(new_texts[:BATCH])}


@takes("label_steps", prompt_id=int, steps=list[str], labels=list[int], seconds=float | None, token=str | None)
def steps_save(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Store one judged answer. Sent twice with the same token, it is stored once."""
    labels = context.store.add_step_labels(
        read_number(payload, "prompt_id"),
        payload["steps"],
        payload["labels"],
        payload["rater"],
        seconds=read_seconds(payload),
        token=read_token(payload),
    )
    return {"id": labels.id}


@takes("skip_steps", prompt_id=int)
def steps_skip(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Pass over an answer: its prompt comes later."""
    return {"id": context.store.skip(payload["rater"], read_number(payload, "prompt_id"), "steps")}


@takes("undo_step_labels", id=int)
def steps_undo(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Take back a judged answer of this rater by its id."""
    id = read_number(payload, "id")
    is_own = any(row.id == id and row.rater == payload["rater"] for row in context.store.step_labels())
    if is_own:
        context.store.delete_step_labels(id)
    return {"undone": is_own}


@takes()
def simulate_steps(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Let the bundled model answer sums and word problems, each step labelled by the worked solution: how many."""
    if context.settings.model != "sandbox":
        raise Refused("Only the bundled model's world has worked solutions to label steps by.")
    return {"added": simulated.label_answers(context.store, context.model())}


FUNCTIONS = [steps_state, steps_next, steps_more, steps_save, steps_skip, steps_undo, simulate_steps]

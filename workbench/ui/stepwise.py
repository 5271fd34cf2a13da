"""Rank, step by step: one answer of the model, each of its steps judged. The page's functions; its looks are in
static/stepwise.js."""

from __future__ import annotations

from collections import Counter
from typing import Any

from workbench.collect import simulated
from workbench.collect.steps import SPLITS, split_for
from workbench.records import Prompt, StepLabels
from workbench.ui import payload as sent
from workbench.ui.context import Context, Refused
from workbench.ui.payload import takes

BATCH = 20  # prompts added by "Write answers"
LAST = 20  # of one's own answers, which can be undone
TRIES = 3  # how often an answer that was judged already, or is empty, is asked for again


@takes()
def steps_state(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """How many answers this rater judged, the last of them, and what else there is."""
    mine = [row for row in context.store.step_labels() if row.rater == payload["rater"] and not row.simulated]
    counts = context.store.counts()
    return {
        "place": context.key,
        "mine": len(mine),
        "all": counts["step_labels"],
        "simulated": counts["simulated_step_labels"],
        "sandbox": context.settings.model == "sandbox",
        "last": [
            {"id": row.id, "labels": list(row.labels), "item": _item(row.prompt_id, row.prompt, list(row.steps))}
            for row in mine[-LAST:]
            if row.source == "person"
        ],
    }


@takes(have=list[int])
def steps_next(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """An answer to judge: of the prompt this rater judged or skipped least, none of those in `have`."""
    have = payload["have"]
    answer: dict[str, Any] = {"item": None, "empty": False, "loading": context.loading()}
    prompts = _prompts(context)
    if not prompts:
        return {**answer, "empty": True, "loading": ""}
    if context.model_state == "failed":
        raise Refused(context.loading())
    if answer["loading"]:
        return answer
    known = context.store.step_labels()
    done = Counter(row.prompt_id for row in known if row.rater == payload["rater"])
    done.update(context.store.skips(payload["rater"], "steps"))
    prompt = min(prompts, key=lambda each: (each.id in have, done[each.id], each.id))
    return answer | {"item": _written(context, prompt, known)}


def _written(context: Context, prompt: Prompt, known: list[StepLabels]) -> dict[str, Any]:
    split = SPLITS[split_for(context.settings.model)]
    judged = {row.answer for row in known if row.prompt_id == prompt.id}
    steps: list[str] = []
    for _ in range(TRIES):
        steps = split(context.answer([prompt])[0].text) or steps
        if steps and "".join(steps) not in judged:
            break
    return _item(prompt.id, prompt.text, steps or ["(empty answer)"])


def _item(prompt_id: int, prompt: str, steps: list[str]) -> dict[str, Any]:
    return {"prompt_id": prompt_id, "prompt": prompt, "steps": steps}


def _prompts(context: Context) -> list[Prompt]:
    """What is asked: all prompts; of the bundled model those which it answers in steps, sums and word problems."""
    prompts = context.store.prompts()
    if context.settings.model != "sandbox":
        long = context.too_long([prompt.text for prompt in prompts])
        return [prompt for prompt in prompts if prompt.text not in long]
    from workbench.sandbox.world import find

    kinds = ((prompt, find(prompt.text)) for prompt in prompts)
    return [prompt for prompt, found in kinds if found is not None and found.kind in ("sum", "problem")]


@takes()
def steps_more(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Put some sums and word problems into the list, for the bundled model to answer."""
    if context.settings.model != "sandbox":
        raise Refused("Add your own prompts first, on Demonstrate.")
    from workbench.sandbox.world import find, sample

    known = {prompt.text for prompt in context.store.prompts()}
    texts = [p.text for split in ("train", "heldout") for p in sample(400, split, seed=len(known))]  # type: ignore[arg-type]
    fitting = [t for t in texts if t not in known and (found := find(t)) and found.kind in ("sum", "problem")]
    context.store.add_prompts(fitting[:BATCH], "sandbox")
    return {"added": len(fitting[:BATCH])}


@takes(prompt_id=int, steps=list[str], labels=list[int], seconds=Any, token=str)
def steps_save(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Store one judged answer. Sent twice with the same token, it is stored once."""
    saved = context.store.add_step_labels(
        sent.number(payload, "prompt_id"),
        payload["steps"],
        payload["labels"],
        payload["rater"],
        seconds=sent.seconds(payload),
        token=sent.token(payload),
    )
    return {"id": saved.id}


@takes(prompt_id=int)
def steps_skip(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Pass over an answer: its prompt comes later."""
    return {"id": context.store.skip(payload["rater"], sent.number(payload, "prompt_id"), "steps")}


@takes(id=int)
def steps_undo(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Take back a judged answer of this rater by its id."""
    id = sent.number(payload, "id")
    mine = any(row.id == id and row.rater == payload["rater"] for row in context.store.step_labels())
    if mine:
        context.store.delete_step_labels(id)
    return {"undone": mine}


@takes()
def simulate_steps(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Let the bundled model answer sums and word problems, each step labelled by the worked solution: how many."""
    if context.settings.model != "sandbox":
        raise Refused("Only the bundled model's world has worked solutions to label steps by.")
    return {"added": simulated.label_answers(context.store, context.model())}


FUNCTIONS = [steps_state, steps_next, steps_more, steps_save, steps_skip, steps_undo, simulate_steps]

"""The formats that are recognised, the particular before the general, and which one a row is of."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from workbench.collect.conversation import prompt_column
from workbench.collect.converters import answers, native, oasst, pairs, ranked, steps
from workbench.collect.converters.records import Origin, Record
from workbench.collect.row import Row

Items = Iterable[tuple[int, dict[str, Any]]]


@dataclass(frozen=True)
class Format:
    """The first format that a row `fits` and whose columns (`needs`) it has is recognised.

    `gather` makes rows out of a whole file where one judgement stands in several of them.
    """

    name: str
    kind: str
    needs: tuple[str, ...]
    convert: Callable[[Row, Origin], list[Record]]
    fits: Callable[[Row], bool] = lambda row: True
    gather: Callable[[Items], Iterator[tuple[int, dict[str, Any]]]] | None = None

    def recognises(self, row: Row) -> bool:
        return all(row.has(name) for name in self.needs) and self.fits(row)


def _objects(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(isinstance(row.peek(name), dict) for name in names)


def _lists(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(isinstance(row.peek(name), list) for name in names)


def _has_prompt(row: Row) -> bool:
    return prompt_column(row) is not None


def _transcripts(row: Row) -> bool:
    return prompt_column(row) is None and all(pairs.is_transcript(row.peek(name)) for name in ("chosen", "rejected"))


def _math_shepherd(row: Row) -> bool:
    return all(isinstance(row.peek(name), str) for name in ("input", "label")) and steps.MARK in row.peek("input")


def _labelled_answer(row: Row) -> bool:
    return answers.is_labelled(row) and answers.has_answer(row)


def _labelled_conversation(row: Row) -> bool:
    return answers.is_labelled(row) and answers.has_conversation(row)


HELPSTEER = ("prompt", "response", "helpfulness", "correctness")
FORMATS = [
    Format("native", "comparisons", ("responses", "groups"), native.native),
    Format("alpacaeval", "comparisons", ("instruction", "output_1", "output_2"), pairs.alpaca_eval),
    Format("shp", "comparisons", ("history", "human_ref_a", "human_ref_b", "labels"), pairs.shp),
    Format("helpsteer3", "comparisons", ("response1", "response2", "overall_preference"), pairs.helpsteer3),
    Format("arena", "comparisons", ("response_a", "response_b", "winner_model_a"), pairs.arena),
    Format("summaries", "comparisons", ("info", "summaries", "choice"), pairs.summaries),
    Format("oasst", "comparisons", ("prompt",), oasst.tree, oasst.is_tree),
    Format("oasst-messages", "comparisons", ("message_id", "text"), oasst.tree, oasst.is_message, oasst.trees),
    Format("helpsteer", "comparisons", HELPSTEER, ranked.ranked, gather=ranked.helpsteer),
    Format("hh-rlhf", "comparisons", ("chosen", "rejected"), pairs.pair, _transcripts),
    Format("trl", "comparisons", ("chosen", "rejected"), pairs.pair),
    Format("trl", "comparisons", ("rejected",), pairs.answer_and_rejected, _has_prompt),
    Format("native", "steps", ("steps", "labels"), steps.native_steps, _lists("steps", "labels")),
    Format("trl", "steps", ("completions", "labels"), steps.trl_steps),
    Format("prm800k", "steps", ("question", "label"), steps.prm800k, _objects("question", "label")),
    Format("math-shepherd", "steps", ("input", "label"), steps.math_shepherd, _math_shepherd),
    Format("processbench", "steps", ("problem", "steps", "label"), steps.process_bench),
    Format("ranked", "comparisons", (), ranked.ranked, ranked.is_ranked),
    Format("two answers", "comparisons", (), pairs.two_answers, pairs.is_judged),
    Format("best first", "comparisons", ("instruction", "output"), pairs.best_first, pairs.is_best_first),
    Format("unpaired", "comparisons", ("completion", "label"), answers.unpaired, _labelled_answer),
    Format("unpaired", "comparisons", ("label",), answers.unpaired, _labelled_conversation),
    Format("self-instruct", "demonstrations", ("instruction", "instances"), answers.self_instruct),
    Format("sharegpt", "demonstrations", ("conversations",), answers.conversation, answers.is_conversation),
    Format("messages", "demonstrations", (), answers.conversation, answers.is_conversation),
    Format("alpaca", "demonstrations", ("instruction", "output"), answers.completion, answers.has_answer),
    Format("trl", "demonstrations", ("completion",), answers.completion, answers.has_answer),
    Format("verl", "prompts", ("data_source", "prompt", "reward_model"), answers.verl),
    Format("trl", "prompts", ("prompt",), answers.prompt),
    Format("plain", "prompts", (), answers.prompt, _has_prompt),
]


def format_of(row: Row) -> Format | None:
    """The first format that this row is of; None when it is none of them."""
    return next((each for each in FORMATS if each.recognises(row)), None)

"""Rows as token ids: cut in one way by hand, what is left out and named, and a run that starts, and resumes, with what
it was prepared with."""

import json
from datetime import datetime

import pytest
import torch

from tests import small_runs, tiny_model
from workbench import models
from workbench.jobs import prepare, worker
from workbench.jobs.runs import list_runs, read_run
from workbench.learn import data, examples
from workbench.learn.catalogue import METHODS, parse
from workbench.learn.catalogue.facts import PROMPTS
from workbench.learn.data import ChangedStart, ChangedTokens
from workbench.learn.engine import adapter, evaluation
from workbench.learn.engine.work import Work
from workbench.learn.examples import Limits, NothingToLearn, fit
from workbench.learn.methods import dpo, method_module, sft
from workbench.models import tokens
from workbench.records import Response, split_of

LONG = "x" * 300  # the tiny model reads 256 tokens, each of them a byte
END = 1  # the tiny model's end token


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_model.tokenizer()


# Cutting, by hand


@pytest.mark.parametrize(
    ("prompt", "answers", "limit", "expected"),
    [
        ([1, 2], [[3, 9]], 5, ([1, 2], [[3, 9]])),
        ([1, 2], [[3, 4, 5, 9]], 5, ([1, 2], [[3, 4, 5]])),  # the answer loses its end
        ([1, 2, 3, 4], [[5, 9]], 5, ([2, 3, 4], [[5, 9]])),  # the prompt its beginning: more than half is not its own
        ([1, 2, 3, 4], [[5, 6, 7, 9]], 4, ([3, 4], [[5, 6]])),  # both more than half
        ([1, 2, 3, 4], [[5, 9], [6, 7, 8, 9]], 6, ([2, 3, 4], [[5, 9], [6, 7, 8]])),  # the longest answer decides
        ([1, 2, 3], [], 2, ([2, 3], [])),
    ],
)
def test_the_prompt_loses_its_beginning_and_an_answer_its_end(prompt, answers, limit, expected):
    assert fit(prompt, answers, limit) == expected


def test_a_score_that_is_read_at_the_end_token_keeps_it():
    assert fit([1, 2], [[3, 4, 5, 9]], 5, keep_end=True) == ([1, 2], [[3, 4, 9]])
    assert fit([1, 2], [[3, 9]], 5, keep_end=True) == ([1, 2], [[3, 9]])
    assert fit([1, 2, 3, 4], [[5, 6, 9]], 4, keep_end=True) == ([3, 4], [[5, 9]])


ROWS = {
    "sft": {"completion": "It is fine."},
    "dpo": {"chosen": "good as gold", "rejected": "bad as can be"},
    "orpo": {"chosen": "good as gold", "rejected": "bad as can be"},
    "kto": {"completion": "good as gold", "label": True},
    "reward": {"answers": ["good as gold", "bad as can be"], "places": [0, 1]},
    "prm": {"steps": ["Yes. ", "So it is."], "labels": [1, 1]},
}


@pytest.mark.parametrize("method", ROWS)
def test_a_long_prompt_keeps_its_end_the_header_and_the_answers(tokenizer, method):
    """60 characters of prompt and 32 tokens: once the answer's header was cut and one letter of each answer left."""
    row = {"id": 1, "prompt": "The beginning of it. " + "y" * 28 + " the end of it?", "split": "train"} | ROWS[method]
    one = examples.example(tokenizer, method, row, Limits(32, 256))
    assert one.cut == "prompt"
    for text, ids in zip(METHODS[method].texts(row).values(), one.answers.values(), strict=True):
        assert tokenizer.decode(ids) == text + "<|end|>"
        assert len(one.prompt) + len(ids) <= 32
    assert tokenizer.decode(one.prompt).endswith("the end of it?<|assistant|>")


def test_every_row_has_something_to_learn_however_few_tokens_there_are(tokenizer):
    for limit in range(8, 40):
        one = examples.example(tokenizer, "sft", {"prompt": "p" * 60, "completion": "c" * 60}, Limits(limit, 256))
        assert len(one.prompt) + len(one.answers["completion"]) == limit
        assert min(len(one.prompt), len(one.answers["completion"])) >= limit // 2
        assert one.cut == "both"


# Left out, and named


@pytest.mark.parametrize(
    ("method", "row", "limits", "reason"),
    [
        ("sft", {"prompt": LONG, "completion": "a"}, Limits(512, 256), "the prompt is longer than the 256 tokens that"),
        (
            "ppo",
            {"prompt": "x" * 250},
            Limits(512, 256, 8),
            r"the prompt with max_new_tokens \(8\) is longer than the 256",
        ),
        (
            "dpo",
            {"prompt": "p", "chosen": "aaaaaaab", "rejected": "aaaaaaac"},
            Limits(8, 256),
            "do not differ within max_",
        ),
        ("dpo", {"prompt": "p", "chosen": "same", "rejected": "same"}, Limits(64, 256), "their answers do not differ$"),
        (
            "reward",
            {"prompt": "p", "answers": ["aaaaaaab", "aaaaaaac"], "places": [0, 1]},
            Limits(8, 256),
            "do not differ",
        ),
        (
            "prm",
            {"prompt": "p", "steps": ["a" * 50], "labels": [1]},
            Limits(8, 256),
            "none of their steps fit into max_",
        ),
    ],
)
def test_what_cannot_be_learned_from_is_left_out_with_its_reason(tokenizer, method, row, limits, reason):
    assert isinstance(examples.example(tokenizer, method, row, limits), str)
    with pytest.raises(
        NothingToLearn, match=f"Nothing is left to learn from. 2 of 2 .* are left out: .*{reason.strip('$')}"
    ):
        examples.check_learnable(tokenizer, method, [row, row], limits)
    if reason.endswith("$"):
        assert examples.example(tokenizer, method, row, limits) == reason[:-1]


def test_kto_needs_both_kinds_among_what_is_left(tokenizer):
    rows = [{"prompt": "p", "completion": "a", "label": True}, {"prompt": LONG, "completion": "b", "label": False}]
    with pytest.raises(
        NothingToLearn,
        match=r"KTO needs both good and bad answers to train on; none is bad. Judge some as bad. 1 of 1 ",
    ):
        examples.check_learnable(tokenizer, "kto", rows, Limits(64, 256))
    examples.check_learnable(tokenizer, "kto", [*rows, rows[1] | {"prompt": "p"}], Limits(64, 256))


@pytest.mark.parametrize(
    ("method", "row", "limits", "surely"),
    [
        ("sft", {"prompt": "p" * 100, "completion": "a" * 50}, Limits(512, 512), True),
        ("sft", {"prompt": "p" * 100, "completion": "a" * 50}, Limits(400, 512), False),  # 100 + 256 + 50 bytes
        ("dpo", {"prompt": "p", "chosen": "a", "rejected": "a"}, Limits(512, 512), False),
        ("kto", {"prompt": "p", "completion": "a", "label": True}, Limits(512, 512), False),  # a bad one is needed, too
        ("ppo", {"prompt": "p" * 100}, Limits(512, 421, 64), True),
        ("ppo", {"prompt": "p" * 100}, Limits(512, 420, 64), False),
    ],
)
def test_short_rows_need_no_tokenizer_to_be_seen_to_fit(method, row, limits, surely):
    assert examples.surely_learnable(method, [row, row], limits) == surely
    if method == "kto":
        assert examples.surely_learnable(method, [row, row | {"label": False}], limits)


def test_no_text_has_more_tokens_than_bytes_and_no_template_more_than_the_frame():
    sandbox = models.tokenizer("sandbox")
    for text in ("Is 2 + 2 = 4?", "Grüße, 日本 😀!", "x" * 50):
        assert len(tokens.prompt_ids(sandbox, text)) <= len(text.encode()) + examples.FRAME
        assert len(tokens.answer_ids(sandbox, text)) <= len(text.encode()) + 1


def space(folder, long=(), n=12):
    """A workspace with `n` of everything for prompts of training and of testing, and the prompts `long` with them."""
    settings, store = small_runs.workspace(folder, n=0)
    texts = [f"What is {i} plus {i}?" for i in range(n)] + list(long)
    for prompt in store.add_prompts(texts, "person"):
        store.add_demonstration(prompt.id, f"It is {2 * prompt.id}.", "me")
        good, bad = store.add_responses([Response(0, prompt.id, text, "tiny") for text in ("Yes, so it is.", "no!")])
        store.add_comparison(prompt.id, [good, bad], [[good.id], [bad.id]], [good.id, bad.id], "me")
    return settings, store


def long_prompts(n, split):
    return [text for i in range(1000) if split_of(text := f"{i} {LONG}") == split][:n]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Three prompts longer than the model reads, one of them held out, among others."""
    folder = tmp_path_factory.mktemp("mixed")
    reward = folder / "mine.py"
    reward.write_text("def reward(prompts, responses):\n    return [r.count('e') - 0.1 * len(r) for r in responses]\n")
    settings, store = space(folder / "space", long_prompts(2, "train") + long_prompts(1, "heldout"), n=30)
    with store:
        yield settings, store, reward


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "kto", "reward", "ppo", "rloo"])
def test_one_prompt_longer_than_the_context_is_passed_over(mixed, method):
    settings, store, reward = mixed
    sampled = METHODS[method].source is PROMPTS
    changes = {"steps": 1, "evaluate_every": 1} | ({"reward": f"file:{reward}"} if sampled else {})
    with small_runs.opened(settings, store, method, **changes) as work:
        assert LONG not in "".join(row["prompt"] for row in work.train + work.heldout)
        assert LONG not in "".join(text for some in work.prompts.values() for text in some)
        result = method_module(method).train(work)
        notices = work.report.get("notices")
    assert result["steps"] == 1
    left_out = [text for text in notices if " left out: " in text]
    each = 2 if method == "kto" else 1  # two answers to each prompt are judged
    unit = METHODS[method].unit
    assert left_out[0].startswith(f"{2 * each} of ") and f" {unit} are left out: the prompt " in left_out[0]
    assert left_out[1].startswith(f"{each} of ") and f"held-out {unit} " in left_out[1]
    assert left_out[0].endswith('\u2026"') and "256 tokens that the model reads" in left_out[0]


def test_a_run_with_nothing_left_to_learn_from_is_refused_before_it_is_queued(tmp_path):
    settings, store = space(tmp_path / "space", long_prompts(3, "train"), n=0)
    with store:
        for method in ("sft", "dpo", "orpo", "kto", "reward"):
            with pytest.raises(
                NothingToLearn, match=r"Nothing is left to learn from.*For example: .*Shorten the prompts"
            ):
                prepare.prepare_run(settings, store, method, parse(method, small_runs.small(method)))
            with pytest.raises(NothingToLearn):
                prepare.first_batch(settings, store, method, parse(method, {}))
    assert list_runs(settings.workspace) == []


def test_a_job_whose_rows_are_all_left_out_stops_before_it_trains(tmp_path, monkeypatch):
    settings, store = space(tmp_path / "space", long_prompts(3, "train"), n=0)
    monkeypatch.setattr(prepare, "_dry_run", lambda *_: None)  # as of a model that has still to be downloaded
    with store:
        run = prepare.prepare_run(settings, store, "sft", parse("sft", small_runs.small("sft")))
    assert worker.main(run.folder) == 1
    status = read_run(run.folder).status
    assert status["state"] == "failed" and status["message"].startswith(
        f"Run {run.number} cannot train: Nothing is left to learn from. 3 of 3 answers are left out: the prompt is longer"
    )


def test_what_is_cut_is_counted_over_the_whole_data_set(tmp_path):
    settings, store = space(tmp_path / "space", n=30)
    with store, small_runs.opened(settings, store, "sft", max_tokens=24, batch_size=2) as work:
        n = len(work.train)
        notices = work.report.get("notices")
        text = (work.folder / "first_batch.txt").read_text()
    # a prompt of 18 or 20 characters with 2 special tokens, an answer of 8 or 9 with its end token: all too long
    assert notices[0] == (
        f"{n} of {n} answers are longer than 24 tokens and are cut: {n} lose the beginning of the prompt."
    )
    assert text.count("tokens, cut") == 2 and "<|user|>" not in text and "?<|assistant|>" in text


# The same tokens at a resume

# as Llama 3.2's
DATED = """{%- if strftime_now is defined %}{%- set date = strftime_now("%d %b %Y") %}{%- endif %}{{ date }}"""
DATED += tiny_model.TEMPLATE


def test_a_template_with_todays_date_gives_the_same_prompt_tomorrow():
    dated = tiny_model.tokenizer(DATED)
    today = dated.decode(tokens.prompt_ids(dated, "Hi"))
    assert today == f"{datetime.now():%d %b %Y}<|user|>Hi<|assistant|>"
    tokens.freeze_date(dated, datetime(2024, 2, 29))
    assert dated.decode(tokens.prompt_ids(dated, "Hi")) == "29 Feb 2024<|user|>Hi<|assistant|>"


def reopened(settings, work):
    """The same run opened again, as a resume does."""
    return Work.open(read_run(work.folder), work.report)


def test_a_resume_speaks_of_the_day_on_which_the_run_was_prepared(tmp_path):
    tiny_model.base(tmp_path / "space-model", template=DATED)
    settings, store = space(tmp_path / "space")
    with store, small_runs.opened(settings, store, "sft") as work:
        config = json.loads((work.folder / "config.json").read_text())
        day = datetime.fromisoformat(config["created"])
        assert work.model.tokenizer.decode(work.examples[0].prompt).startswith(f"{day:%d %b %Y}<|user|>")
        (work.folder / "config.json").write_text(json.dumps(config | {"created": "2024-02-29T12:00:00+00:00"}))
        (work.folder / "data" / "tokens.json").unlink()
        again = reopened(settings, work)
        assert again.model.tokenizer.decode(again.examples[0].prompt).startswith("29 Feb 2024<|user|>")
        assert again.model.tokenizer.decode(again.model.prompt_ids("Hi")).startswith("29 Feb 2024<|user|>")


def test_a_template_that_has_changed_since_stops_a_resume(tmp_path):
    settings, store = space(tmp_path / "space")
    with store, small_runs.opened(settings, store, "sft") as work:
        assert reopened(settings, work).examples == work.examples
        tiny_model.tokenizer(tiny_model.TEMPLATE + " ").save_pretrained(settings.model)
        with pytest.raises(ChangedTokens, match=r"chat template has changed since the run began.* Start a new run"):
            reopened(settings, work)


# The run that another starts from


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A finished SFT run of rank 4, and its workspace."""
    settings, store = space(tmp_path_factory.mktemp("parent") / "space")
    with store:
        with small_runs.opened(settings, store, "sft", steps=1, lora_rank=4, lora_alpha=12) as work:
            (work.folder / "result.json").write_text(json.dumps(sft.train(work)))
        yield settings, store, work


def test_the_adapters_shape_is_recorded_as_it_is_and_told(parent):
    settings, store, first = parent
    number = first.config["number"]
    with small_runs.opened(settings, store, "dpo", start_from=number, lora_dropout=0.1) as work:
        trained = work.peft.peft_config["default"]
        recorded = {name: work.config["args"][name] for name in ("lora_rank", "lora_alpha", "lora_dropout")}
        assert recorded == {"lora_rank": 4, "lora_alpha": 12, "lora_dropout": 0}
        assert (trained.r, trained.lora_alpha, trained.lora_dropout) == (4, 12, 0)
        assert work.config["reasons"]["lora_rank"] == f"as in run {number}, the starting point"
        assert work.report.get("notices")[:3] == [
            f"lora_rank is 4, as in run {number}, from which this run starts, not 16 as set.",
            f"lora_alpha is 12, as in run {number}, from which this run starts, not 32 as set.",
            f"lora_dropout is 0, as in run {number}, from which this run starts, not 0.1 as set.",
        ]


def test_a_run_keeps_the_adapter_it_was_prepared_with(parent):
    settings, store, first = parent
    with small_runs.opened(settings, store, "dpo", start_from=first.config["number"], seed=5) as work:
        began = {n: w.detach().clone() for n, w in work.peft.named_parameters() if ".ref." in n}
        (first.folder / "adapter" / "adapter_model.safetensors").write_bytes(b"of a run that was resumed since")
        again = reopened(settings, work)
        assert began and all(torch.equal(w, began[n]) for n, w in again.peft.named_parameters() if ".ref." in n)
        (work.folder / data.START / "adapter_model.safetensors").write_bytes(b"changed")
        with pytest.raises(ChangedStart, match=r"is not the copy of run .* Start a new run"):
            reopened(settings, work)


def test_a_start_that_has_changed_in_memory_stops_the_run(tmp_path):
    settings, store = space(tmp_path / "space")
    with store:
        with small_runs.opened(settings, store, "sft", steps=1) as first:
            (first.folder / "result.json").write_text(json.dumps(sft.train(first)))
        with small_runs.opened(settings, store, "dpo", start_from=first.config["number"], steps=1) as work:
            assert dpo.train(work)["steps"] == 1, "TRL's copy of the start has the same values"
            assert adapter.frozen_hash(work.peft) == work.frozen
            with torch.no_grad():
                next(w for n, w in work.peft.named_parameters() if ".ref." in n).add_(1e-3)
            with pytest.raises(RuntimeError, match="should be frozen have changed"):
                evaluation.finish(work)

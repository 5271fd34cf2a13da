import json
import time
from dataclasses import dataclass

import pytest

from tests import tiny_model
from workbench import models
from workbench.measure import compare as module
from workbench.measure.compare import cancel, compare, histogram, kl, poll, start, to_json, word_diff
from workbench.models.generate import Generated, generate, logprobs
from workbench.records import Sampling

PROMPTS = ["hello", "who are you?", "x"]
CHOICES = [(None, 1.0), ("0003-sft", 1.0), ("0003-sft", 1.5)]
WARM = Sampling(temperature=0.8, max_new_tokens=12, seed=3)


@dataclass
class Gold:
    total: float
    parts: dict
    style: str


def by_length(prompt, text):
    return None if prompt == "x" else Gold(len(text) / 100, {"short": None}, "plain")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    base = tiny_model.base(tmp_path_factory.mktemp("tiny") / "base")
    return tiny_model.adapter(base, base.parent / "0003-sft" / "adapter").parent


@pytest.fixture(scope="module")
def model(run):
    loaded = models.load(str(run.parent / "base"), device="cpu")
    assert loaded.attach(run) == "0003-sft"
    return loaded


def marked(spans):
    return "".join(f"[{text}]" if mark else text for text, mark in spans)


@pytest.mark.parametrize(
    ("a", "b", "in_a", "in_b"),
    [
        ("a cat sat", "a dog sat", "a [cat] sat", "a [dog] sat"),
        ("Yes.", "No, it is not.", "[Yes].", "[No, it is not]."),
        ("one two", "one two", "one two", "one two"),
        ("", "new words", "", "[new words]"),
        ("  kept  spaces ", "kept spaces", "  kept  spaces ", "kept spaces"),
        ("it's Paris!", "its Paris", "[it's] Paris[!]", "[its] Paris"),
        ("the big old cat", "the cat", "the [big old] cat", "the cat"),
    ],
)
def test_words_that_differ_are_marked(a, b, in_a, in_b):
    left, right = word_diff(a, b)
    assert (marked(left), marked(right)) == (in_a, in_b)
    assert ("".join(t for t, _ in left), "".join(t for t, _ in right)) == (a, b)


def test_pieces_joined_are_the_text_whatever_is_in_it():
    odd = "<b>x</b>\n\n\tÄpfel 🦊🦊 don’t  _a_ \u200b\x00 ﷽"
    left, right = word_diff(odd, odd[::-1])
    assert "".join(t for t, _ in left) == odd
    assert "".join(t for t, _ in right) == odd[::-1]


def test_histogram_shares_its_bins():
    bins = histogram([[0, 1, 1, 4], [2]], bins=2)
    assert bins == {"edges": [0, 2, 4], "counts": [[3, 1], [0, 1]]}
    assert histogram([[3, 3], []]) == {"edges": [2.5, 3.5], "counts": [[2], [0]]}
    assert histogram([[], []]) == {"edges": [], "counts": [[], []]}


def test_kl_by_hand(model, monkeypatch):
    """An aligned answer of log-probabilities -1, -2 that the base gives -3, -2.5 has 2.5 nats; the base's own has 0."""
    rows = [Generated("a", [5, 6], False, [-1.0, -2.0]) for _ in range(3)]
    monkeypatch.setattr(
        "workbench.models.generate.logprobs", lambda model, prompts, answers, temperature: [[-3.0, -2.5]]
    )
    assert kl(model, ["p"], [(None, 1.0), ("0003-sft", 1.0), ("0003-sft", 0.0)], rows, WARM) == [0, 2.5, 0]


def test_rows_are_those_of_generating_one_by_one(model):
    comparison = compare(model, PROMPTS, CHOICES, WARM, score=by_length)
    assert [(a.prompt, a.model) for a in comparison.answers] == [(i, j) for i in range(3) for j in range(3)]
    for a in comparison.answers:
        name, strength = CHOICES[a.model]
        alone = generate(model, [PROMPTS[a.prompt]], WARM, [name], strength)[0]
        assert (a.text, a.tokens, a.ended) == (alone.text, len(alone.tokens), alone.ended)
        mine = logprobs(model, [PROMPTS[a.prompt]], [alone.tokens], name, strength, 0.8)[0]
        base = logprobs(model, [PROMPTS[a.prompt]], [alone.tokens], temperature=0.8)[0]
        assert a.kl == pytest.approx(sum(mine) - sum(base), abs=1e-3)
        assert a.gold == (None if PROMPTS[a.prompt] == "x" else len(a.text) / 100)
        assert "".join(text for text, _ in a.spans) == a.text
    assert [m.n for m in comparison.gold] == [2, 2, 2]
    assert [m.n for m in comparison.length] == [3, 3, 3]
    assert comparison.kl[0].value == 0 < comparison.kl[1].value < comparison.kl[2].value


def test_strength_zero_reads_as_the_base_without_a_mark(model):
    comparison = compare(model, PROMPTS, [(None, 1.0), ("0003-sft", 0.0)], WARM, score=by_length)
    for a in comparison.answers:
        assert a.kl == 0
        assert not any(mark for _, mark in a.spans)


def test_a_comparison_survives_json(model):
    plain = json.loads(json.dumps(to_json(compare(model, ["x"], CHOICES[:2], WARM, score=by_length)), allow_nan=False))
    assert plain["gold"] == [None, None]
    assert plain["length"][0]["n"] == 1
    assert sum(map(sum, plain["histograms"]["length"]["counts"])) == 2


def wait(job, cursor=0):
    texts, end = {}, time.monotonic() + 30
    while True:
        news = poll(job, cursor)
        cursor = news["cursor"]
        texts |= {row["row"]: row["text"] for row in news["rows"]}
        if news["done"]:
            return texts, news
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_job_streams_every_row_to_its_end(model, run):
    job = start(lambda: model, PROMPTS, [(None, 1.0), (run, 1.0)], WARM, by_length)
    texts, news = wait(job)
    want = to_json(compare(model, PROMPTS, CHOICES[:2], WARM, score=by_length))
    assert news["error"] is None
    assert news["result"] == want
    assert [texts[k] for k in range(6)] == [a["text"].rstrip("\ufffd") for a in want["answers"]]
    assert poll(job, news["cursor"])["rows"] == []
    assert len(poll(job)["rows"]) == 6


def test_a_job_that_fails_says_why(model, tmp_path):
    _, news = wait(start(lambda: model, PROMPTS, [(tmp_path, 1.0)], WARM, by_length))
    assert "holds no adapter" in news["error"]
    assert news["result"] is None


def test_cancel_and_a_page_that_went_away_stop_the_job(model, monkeypatch):
    long = Sampling(max_new_tokens=200)
    job = start(lambda: model, PROMPTS * 20, CHOICES, long, by_length)
    cancel(job)
    _, news = wait(job)
    assert (news["error"], news["result"]) == (None, None)
    monkeypatch.setattr(module, "ABANDONED_AFTER", 0.0)
    job = start(lambda: model, PROMPTS, CHOICES, long, by_length)
    while not module._jobs[job].done:
        time.sleep(0.005)
    assert all(len(text) < 150 for text in module._jobs[job].texts)


def test_only_so_many_jobs_are_kept(model, monkeypatch):
    monkeypatch.setattr(module, "MOST_JOBS", 2)
    jobs = []
    for _ in range(4):
        jobs.append(start(lambda: model, ["x"], [(None, 1.0)], WARM, by_length))
        wait(jobs[-1])
    assert [job in module._jobs for job in jobs] == [False, False, True, True]
    with pytest.raises(KeyError):
        poll(jobs[0])


def test_nothing_and_too_much_are_refused_at_once(model):
    with pytest.raises(ValueError, match="at least one prompt and one model"):
        start(lambda: model, [], CHOICES, WARM)
    with pytest.raises(ValueError, match="at most 256 answers"):
        start(lambda: model, ["x"] * 100, CHOICES, WARM)

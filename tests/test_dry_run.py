"""What could only fail is said before it is queued, or by the job before it does anything else."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from tests import small_runs, tiny_model
from workbench import models
from workbench.jobs import prepare, worker
from workbench.jobs.runs import list_runs
from workbench.learn import dry_run, examples
from workbench.learn.catalogue import parse
from workbench.learn.engine import evaluation
from workbench.learn.examples import Limits
from workbench.models import ModelError, generate

ROWS = [{"id": 1, "prompt": "Who?", "chosen": "Me, of course.", "rejected": "You.", "split": "train", "rater": "ann"}]


@pytest.fixture
def place(tmp_path):
    options, store = small_runs.workspace(tmp_path / "w", n=6)
    yield tmp_path / "w-model", options, store
    store.close()


def change(file, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refused(place, method="sft", **settings) -> str:
    """With which words no run is made."""
    _, options, store = place
    with pytest.raises(ValueError, match=r".") as error:
        prepare.prepare_run(options, store, method, parse(method, settings))
    assert list_runs(options.workspace) == [] and "\n" not in str(error.value)
    return str(error.value)


def test_what_is_right_starts(place):
    _, options, store = place
    assert prepare.prepare_run(options, store, "sft", parse("sft", {})).number == 1


def test_the_bundled_model_needs_no_files_read_before_it_starts(monkeypatch):
    monkeypatch.setattr(models, "tokenizer", lambda name: pytest.fail("the tokenizer was read"))
    dry_run.check("sandbox", ROWS, parse("sft", {}))
    monkeypatch.undo()
    model = models.load("sandbox", device="cpu")  # and would pass
    dry_run.check_tokens(model.tokenizer, model.hf.config, "sandbox", ROWS)


def test_a_tokenizer_without_an_end_token_is_refused(place):
    base = place[0]
    change(base / "tokenizer_config.json", eos_token=None)
    _, options, store = place
    prepare.prepare_run(options, store, "sft", parse("sft", {}))  # the chat template names one
    (base / "chat_template.jinja").write_text("{{ messages[0]['content'] }}", "utf-8")
    with pytest.raises(ModelError, match="neither its chat template nor its tokenizer names an end token"):
        prepare.prepare_run(options, store, "sft", parse("sft", {"seed": 1}))


def test_tokens_without_an_embedding_are_refused(place):
    base = place[0]
    tokenizer = tiny_model.tokenizer()
    tokenizer.add_tokens(["<|extra|>"])
    tokenizer.save_pretrained(base)
    _, options, store = place
    prepare.prepare_run(options, store, "sft", parse("sft", {}))  # nobody uses it
    tokenizer.add_special_tokens({"eos_token": "<|new end|>"})
    tokenizer.save_pretrained(base)
    with pytest.raises(ModelError, match=r"the token '<\|new end\|>' has the number 261, .* embeddings for 0 to 259"):
        prepare.prepare_run(options, store, "sft", parse("sft", {"seed": 1}))


def test_a_token_of_the_rows_without_an_embedding_is_found(tmp_path):
    tokenizer = tiny_model.tokenizer()
    config = models.load(str(tiny_model.base(tmp_path)), device="cpu").hf.config
    tokenizer.add_tokens(["course"])
    with pytest.raises(ModelError, match="the token 'course' has the number 260"):
        dry_run.check_tokens(tokenizer, config, "it", ROWS)


def test_a_template_that_cannot_be_rendered_is_refused(place):
    (place[0] / "chat_template.jinja").write_text("{{ raise_exception('Roles must alternate') }}")
    assert "Roles must alternate." in refused(place)


def test_a_missing_tokenizer_is_refused(place):
    (place[0] / "tokenizer.json").unlink()
    (place[0] / "tokenizer_config.json").unlink()
    assert "holds no tokenizer (tokenizer.json)" in refused(place)


def test_an_architecture_that_cannot_answer_is_refused_before_the_start(place):
    change(place[0] / "config.json", model_type="t5", is_encoder_decoder=True)
    assert "t5 has an encoder and a decoder" in refused(place)


def test_answers_longer_than_the_model_reads_are_refused(place):
    text = refused(place, max_new_tokens=256)
    assert text.startswith("max_new_tokens=256: ") and "reads 256 tokens" in text


# with the weights


def encoded(model, method="dpo", rows=ROWS):
    return examples.examples(model.tokenizer, method, rows, Limits.of(parse(method, {}), model.context))[0]


@pytest.fixture
def opened(place):
    """model, peft: as a job has them before its first step."""
    from workbench.learn.engine.adapter import with_adapter

    def open_(folder=place[0]):
        model = models.load(str(folder), device="cpu")
        return model, with_adapter(model, parse("sft", {}))

    return open_


def test_one_row_leaves_weights_gradients_and_randomness_as_they_are(opened):
    model, peft = opened()
    before = {name: weight.detach().clone() for name, weight in peft.named_parameters()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    dry_run.one_row(model, peft, encoded(model))
    assert torch.equal(torch.rand(3), expected)
    for name, weight in peft.named_parameters():
        assert torch.equal(weight, before[name]) and weight.grad is None


def test_nan_in_the_base_is_not_the_learning_rates_fault(place, opened):
    file = place[0] / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.1.mlp.down_proj.weight"][3, 3] = float("nan")
    save_file(weights, file, {"format": "pt"})
    model, peft = opened()
    with pytest.raises(ModelError, match=r"no valid numbers \(NaN or infinite\) before any training.*float32") as error:
        dry_run.one_row(model, peft, encoded(model))
    _, options, store = place
    run = prepare.prepare_run(options, store, "sft", parse("sft", {}))
    text = worker.explain(run, 0, error.value)
    assert text.startswith(f"Run 1 stopped at step 0: {place[0]} gives no valid numbers") and "rate" not in text
    assert text.endswith("No setting of the run can fix this. Nothing before it is lost.") and "Error" not in text


def test_positions_that_the_model_lacks_are_not_asked_for(tmp_path, opened):
    """512 tokens of max_tokens on a GPT-2 of 64 positions: an IndexError within the embeddings."""
    tokenizer = tiny_model.tokenizer()
    ends = {"eos_token_id": 1, "bos_token_id": None, "pad_token_id": 0}
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape, **ends)).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    model, peft = opened(tmp_path / "gpt2")
    assert model.context == 64
    long = [{"id": 1, "prompt": "Who?", "completion": "Me. " * 100, "split": "train"}]
    dry_run.one_row(model, peft, encoded(model, "sft", long))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), MemoryError, "does not fit into memory"),
        (IndexError("index out of range in self"), ModelError, "could not be trained on one row: index out of range"),
        (TypeError("forward() got an unexpected\nkeyword"), ModelError, r"forward\(\) got an unexpected\."),
    ],
)
def test_what_a_model_raises_is_said_in_one_sentence(opened, monkeypatch, error, kind, message):
    model, peft = opened()

    def broken(*of, **call):
        raise error

    monkeypatch.setattr(peft, "forward", broken)
    with pytest.raises(kind, match=message):
        dry_run.one_row(model, peft, encoded(model))


def test_advice_names_what_still_can_be_made_smaller(place):
    _, options, store = place
    run = prepare.prepare_run(options, store, "sft", parse("sft", {"batch_size": 4, "micro_batch": 4}))
    memory = MemoryError("not even one answer fits into memory")
    assert worker.explain(run, 2, memory).endswith("Try Quick, or a micro_batch of 2.")
    run.config["args"]["micro_batch"] = 1
    assert worker.explain(run, 2, memory).endswith("Try a max_tokens below 512.")


def test_held_out_answers_are_scored_as_many_at_once_as_in_training(place, monkeypatch):
    _, options, store = place
    sizes = []
    logprobs = generate.logprobs

    def watched(*of, batch_size=None, **more):
        sizes.append(batch_size)
        return logprobs(*of, batch_size=batch_size, **more)

    monkeypatch.setattr(evaluation.generate, "logprobs", watched)
    with small_runs.opened(options, store, "sft", batch_size=4, micro_batch=2) as work:
        work.peft.eval()
        evaluation.answer_logprobs(work, work.train, "completion", None)
    assert sizes == [2]


def test_a_run_says_that_the_template_begins_answers_in_two_ways(tmp_path):
    from tests import tiny_model
    from tests.small_runs import opened, workspace

    thought = tiny_model.TEMPLATE.replace("<|assistant|>'", "<|assistant|><think>'")
    tiny_model.base(tmp_path / "home-model", template=thought)
    options, store = workspace(tmp_path / "home")
    with store, opened(options, store, "sft") as work:
        notices = work.report.get("notices")
        assert [text for text in notices if 'with "<think>" where one is asked for' in text] == notices
        work._notice_once(notices)
        assert work.report.get("notices") == notices, "a resume does not say it again"

import json
import pickle
import shutil
import threading
import time

import pytest
import torch

from tests import tiny_model
from workbench import models, settings
from workbench.models import ModelError, Turns
from workbench.models import base as base_module


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model.base(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="module")
def adapter(base):
    return tiny_model.adapter(base, base.parent / "0007-dpo" / "adapter")


@pytest.fixture
def model(base):
    return models.load(str(base), device="cpu")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network and an empty cache."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


# loading


def test_bf16_weights_become_float32_on_a_cpu(tmp_path, base):
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(tmp_path)
    tiny_model.tokenizer().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    model = models.load(str(tmp_path), device="cpu")
    assert {p.dtype for p in model.hf.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in model.hf.parameters())
    assert not model.hf.training


def test_prompts_are_framed_by_the_chat_template(model):
    tokenizer = model.tokenizer
    assert tokenizer.decode(model.prompt_ids("Hi")) == "<|user|>Hi<|assistant|>"
    assert model.end_ids == [tokenizer.eos_token_id] == [1]


def test_a_prompt_is_too_long_when_it_leaves_no_room_for_the_answer(model):
    # a token a byte and two of the frame; the model reads 256 and the answer takes 64
    fits, over = "x" * 190, "x" * 191
    assert model.too_long([fits, over, "short"], 64) == {over: 193}


def test_a_model_without_a_template_gets_a_plain_one(tmp_path):
    model = models.load(str(tiny_model.base(tmp_path, template=None)), device="cpu")
    assert model.tokenizer.decode(model.prompt_ids("Hi")) == "### Question:\nHi\n### Answer:\n"
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]
    assert model.tokenizer.apply_chat_template(talk, tokenize=False) == "### Question:\nHi\n### Answer:\nYes<|end|>\n"


class Bomb:
    def __reduce__(self):
        return print, ("opened",)


def test_pickled_weights_are_refused_unopened(tmp_path, base, capsys):
    shutil.copytree(base, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match=r"pickle \(pytorch_model.bin\).*refused"):
        models.load(str(tmp_path / "m"), device="cpu")
    assert "opened" not in capsys.readouterr().out


def test_remote_code_runs_by_consent_alone(tmp_path, base, own_code, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder, ran = own_code(base, tmp_path / "m")
    with pytest.raises(ModelError, match=r"comes with its own code.*--trust-remote-code"):
        models.load(str(folder), device="cpu")
    with pytest.raises(ModelError, match=r"comes with its own code.*--trust-remote-code"):
        models.check_consent(str(folder), False)
    assert not ran.exists()
    models.check_consent(str(folder), True)
    model = models.load(str(folder), device="cpu", trust_remote_code=True)
    assert ran.exists() and type(model.hf).__name__ == "Mine"


def test_a_model_that_transformers_knows_needs_no_consent(tmp_path, base):
    folder = tmp_path / "m"
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": {"AutoModelForCausalLM": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    for name in (str(folder), str(base), "sandbox", "someone/model-that-is-not-here"):
        models.check_consent(name, False)


def test_a_model_that_is_not_here_says_what_is(offline, base):
    with pytest.raises(ModelError, match=r"someone/model is not on this machine and could not be downloaded. "):
        models.load("someone/model", device="cpu")
    with pytest.raises(ModelError, match="there is no folder"):
        models.load(str(base.parent / "nowhere"), device="cpu")


def test_available_lists_the_bundled_model_and_the_cache(offline, monkeypatch, tmp_path, base):
    monkeypatch.setattr(settings, "SANDBOX", base)
    assert models.available() == ["sandbox"]
    with pytest.raises(ModelError, match=r"Available here: sandbox\."):
        models.load("someone/model", device="cpu")
    cached = tmp_path / "cache" / "models--someone--small" / "snapshots" / "abc"
    cached.mkdir(parents=True)
    (cached / "model.safetensors").write_bytes(b"x")
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert models.available() == ["sandbox", "someone/small"]


@pytest.mark.parametrize(("file", "message"), [("config.json", "no config.json"), ("model.safetensors", r"no \*.safe")])
def test_a_folder_that_lacks_a_file_names_it(tmp_path, base, file, message):
    shutil.copytree(base, tmp_path / "m")
    (tmp_path / "m" / file).unlink()
    with pytest.raises(ModelError, match=message):
        models.load(str(tmp_path / "m"), device="cpu")


def test_shared_loads_once_for_everybody(base, monkeypatch, tmp_path):
    chosen = settings.Settings(tmp_path, str(base))
    monkeypatch.setattr(base_module, "_shared", {})
    assert not models.loaded(chosen)
    got = []
    threads = [threading.Thread(target=lambda: got.append(models.shared(chosen))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4
    assert len(set(map(id, got))) == 1
    assert models.loaded(chosen)
    assert models.progress() == ("Ready", 1.0)


# adapters


def test_an_adapter_is_attached_once_under_its_runs_name(model, adapter):
    assert model.attach(adapter.parent) == "0007-dpo"
    assert model.attach(adapter) == "0007-dpo"
    assert model.adapters == ["0007-dpo"]


def test_two_runs_of_one_name_and_a_rewritten_one_stay_apart(model, base, adapter, tmp_path):
    other = tiny_model.adapter(base, tmp_path / "0007-dpo" / "adapter", seed=5)
    assert [model.attach(adapter), model.attach(other)] == ["0007-dpo", "0007-dpo_2"]
    tiny_model.adapter(base, other, seed=6)
    again = model.attach(other)
    assert again not in ("0007-dpo",)
    assert model.adapters == ["0007-dpo", again]
    assert model.attach(other) == again


def test_an_adapter_of_another_base_is_refused_naming_both(model, base, tmp_path):
    stranger = tiny_model.base(tmp_path / "stranger", seed=1)
    theirs = tiny_model.adapter(stranger, tmp_path / "0001-sft" / "adapter")
    with pytest.raises(ModelError) as error:
        model.attach(theirs)
    assert str(stranger) in str(error.value)
    assert str(base) in str(error.value)
    (theirs.parent / "config.json").write_text(json.dumps({"model": "someone/other"}))
    with pytest.raises(ModelError, match="made for the model someone/other, not for"):
        model.attach(theirs.parent)


def test_an_adapter_of_another_shape_is_refused_naming_both(model, base, tmp_path):
    wide = tiny_model.base(tmp_path / "wide", hidden_size=64)
    theirs = tiny_model.adapter(wide, tmp_path / "0001-sft" / "adapter")
    (theirs.parent / "config.json").write_text(json.dumps({"model": str(base)}))
    before = [name for name, _ in model.hf.named_modules()]
    with pytest.raises(ModelError, match=r"does not fit.*shape \[64, 4\], but the layer.s size is 32"):
        model.attach(theirs)
    deep = tiny_model.base(tmp_path / "deep", num_hidden_layers=3)
    theirs = tiny_model.adapter(deep, tmp_path / "0002-sft" / "adapter")
    (theirs.parent / "config.json").write_text(json.dumps({"model": str(base)}))
    with pytest.raises(ModelError, match=r"layers\.2\..*not a layer there"):
        model.attach(theirs)
    assert model.adapters == []
    assert [name for name, _ in model.hf.named_modules()] == before


def test_a_pickled_adapter_and_a_missing_one_are_refused(model, adapter, tmp_path):
    shutil.copytree(adapter, tmp_path / "a")
    (tmp_path / "a" / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"missing: there is no adapter_model\.safetensors"):
        model.attach(tmp_path / "a")
    (tmp_path / "a" / "adapter_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="stored as a pickle, which is refused"):
        model.attach(tmp_path / "a")
    with pytest.raises(ModelError, match="Has the run finished"):
        model.attach(tmp_path)


def test_a_damaged_adapter_is_named(model, adapter, tmp_path):
    shutil.copytree(adapter, tmp_path / "a")
    weights = tmp_path / "a" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is damaged: it has .* bytes and should have"):
        model.attach(tmp_path / "a")
    (tmp_path / "a" / "adapter_config.json").write_text("{torn")
    with pytest.raises(ModelError, match=r"adapter_config\.json is damaged"):
        model.attach(tmp_path / "a")


def test_only_plain_lora_is_attached(model, base, tmp_path):
    dora = tiny_model.adapter(base, tmp_path / "dora", use_dora=True)
    with pytest.raises(ModelError, match=r"only plain LoRA.*use_dora"):
        model.attach(dora)


def test_release_frees_the_weights(base):
    import gc
    import weakref

    model = models.load(str(base), device="cpu")
    weight = weakref.ref(model.hf.lm_head.weight)
    model.release()
    gc.collect()
    assert weight() is None


# turns


def test_turns_go_round_in_order_of_asking():
    turns, order, threads = Turns(), [], []

    def ask(name):
        with turns.turn():
            order.append(name)

    with turns:
        for n, name in enumerate("abc", 1):
            threads.append(threading.Thread(target=ask, args=(name,)))
            threads[-1].start()
            until(lambda n=n: len(turns._queues[0]) == n)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == ["a", "b", "c"]


def test_background_rests_while_a_foreground_generation_lasts():
    turns, steps, stop = Turns(), [], threading.Event()

    def write_ahead():
        with turns.generation(background=True):
            while not stop.is_set():
                with turns.turn(background=True):
                    steps.append(1)

    thread = threading.Thread(target=write_ahead)
    thread.start()
    until(lambda: len(steps) > 3)
    with turns.generation():
        with turns.turn():
            before = len(steps)
        time.sleep(0.05)  # between two steps of the foreground nobody else gets in
        with turns.turn():
            assert len(steps) == before
    until(lambda: len(steps) > before)
    stop.set()
    thread.join()


def test_a_turn_that_fails_is_given_back():
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.generation(), turns.turn():
        _ = 1 / 0
    with turns.turn(background=True):
        pass


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)

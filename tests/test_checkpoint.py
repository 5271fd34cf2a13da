"""A model's folder as it may be found: what is wrong with it is said in one sentence, and nothing random is trained."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests import tiny_model
from workbench import models, settings
from workbench.models import ModelError, checkpoint


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model.base(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture
def copy(base, tmp_path):
    return Path(shutil.copytree(base, tmp_path / "m"))


def refused(folder: Path) -> str:
    """The one sentence or two with which the folder is refused."""
    with pytest.raises(ModelError) as error:
        models.load(str(folder), device="cpu")
    text = str(error.value)
    assert text.startswith(str(folder)) and "\n" not in text
    return text.removeprefix(str(folder))


def change(folder: Path, weights) -> None:
    save_file(weights(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})


def configure(folder: Path, **changes) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


# weights that are not those of the model


def test_a_lost_output_layer_is_named(copy):
    change(copy, lambda w: {k: v for k, v in w.items() if "lm_head" not in k})
    assert "lacks 1 of 21 weights, which would be random: lm_head.weight." in refused(copy)


def test_tied_weights_are_not_missing(copy):
    change(copy, lambda w: {k: v for k, v in w.items() if "lm_head" not in k})
    configure(copy, tie_word_embeddings=True)
    hf = models.load(str(copy), device="cpu").hf
    assert torch.equal(hf.lm_head.weight, load_file(copy / "model.safetensors")["model.embed_tokens.weight"])


def test_a_wrong_prefix_is_named_on_both_sides(copy):
    change(copy, lambda w: {f"wrapped.{k}": v for k, v in w.items()})
    text = refused(copy)
    assert "lacks 21 of 21 weights" in text and "lm_head.weight" in text
    assert "It holds wrapped.lm_head.weight" in text and "17 more" in text


def test_a_reward_models_checkpoint_is_no_model_that_answers(copy):
    change(copy, lambda w: {k: v for k, v in w.items() if "lm_head" not in k} | {"score.weight": torch.zeros(1, 32)})
    configure(copy, architectures=["LlamaForSequenceClassification"])
    text = refused(copy)
    assert "lm_head.weight" in text and "It holds score.weight instead, for which LlamaForCausalLM has no place" in text


@pytest.mark.parametrize(
    ("changes", "extra", "message"),
    [
        ({"hidden_size": 48}, {}, r"lm_head.weight has the shape \[260, 32\], and LlamaForCausalLM wants \[260, 48\]"),
        ({"num_hidden_layers": 1}, {}, r"built without 9 of them: model.layers.1.input_layernorm.weight"),
        ({}, {"model.layers.0.self_attn.q_proj.bias": torch.zeros(32)}, r"without 1 of them: .*q_proj.bias\."),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused(copy, changes, extra, message):
    change(copy, lambda w: w | extra)
    configure(copy, **changes)
    assert re.search(message, refused(copy))


def test_weights_of_a_part_that_is_not_built_do_no_harm(copy):
    more = {"vision_tower.patch.weight": torch.zeros(2, 2), "v_head.summary.weight": torch.ones(1)}
    # rotary frequencies, as older versions stored them
    more |= {f"model.{where}rotary_emb.inv_freq": torch.ones(4) for where in ("", "layers.0.self_attn.")}
    change(copy, lambda w: w | more)
    assert models.load(str(copy), device="cpu").hf is not None


# files that are missing or damaged


def test_a_missing_shard_is_named(base, tmp_path):
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "m"
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(folder, max_shard_size="20KB")
    tiny_model.tokenizer().save_pretrained(folder)
    assert models.load(str(folder), device="cpu").hf is not None
    parts = sorted(folder.glob("model-*.safetensors"))
    parts[1].rename(tmp_path / "kept")
    assert f"1 of the {len(parts)} files with its weights are missing: {parts[1].name}." in refused(folder)
    (tmp_path / "kept").rename(parts[1])
    (folder / "model.safetensors.index.json").write_text("{}")
    assert "model.safetensors.index.json is damaged" in refused(folder)
    (folder / "model.safetensors.index.json").unlink()
    assert f"in {len(parts)} files, but model.safetensors.index.json, which lists them, is missing" in refused(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: whole[:-100], "model.safetensors is damaged: it has"),
        (lambda whole: b"<html>not found</html>", "model.safetensors is damaged or not a safetensors file"),
        (lambda whole: b"", "model.safetensors is damaged or not a safetensors file"),
        (
            lambda whole: (2).to_bytes(8, "little") + b"[]" + b"0" * 9,
            "model.safetensors is damaged or not a safetensors",
        ),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "run git lfs pull"),
    ],
)
def test_damaged_weights_are_named_and_the_page_keeps_its_header(copy, content, message):
    file = copy / "model.safetensors"
    file.write_bytes(content(file.read_bytes()))
    assert message in refused(copy)
    assert settings.describe(settings.Settings(copy, str(copy))).startswith("m · ")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: [file.unlink() for file in f.glob("tokenizer*")], "holds no tokenizer (tokenizer.json)"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "its tokenizer could not be read: it lacks 'added_tokens'"),
        (lambda f: (f / "tokenizer.json").write_text("oops"), "its tokenizer could not be read: Expecting value"),
        (lambda f: (f / "config.json").write_text("{oops"), "valid JSON"),
        (lambda f: configure(f, hidden_act="nope"), "asks for 'nope', which this version of transformers does not"),
        (lambda f: configure(f, num_attention_heads=5), "not a multiple of the number of attention heads (5)"),
        (lambda f: configure(f, model_type="newthing"), "does not recognize this architecture"),
    ],
)
def test_what_the_libraries_raise_is_said_in_words(copy, damage, message):
    damage(copy)
    assert message in refused(copy)


@pytest.mark.parametrize(
    ("method", "package"), [("bitsandbytes", "bitsandbytes"), ("gptq", "optimum"), ("awq", "gptqmodel")]
)
def test_a_quantised_model_names_the_package_it_needs(copy, method, package):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    four = {"load_in_4bit": True} if method == "bitsandbytes" else {"bits": 4}
    configure(copy, quantization_config={"quant_method": method} | four)
    text = refused(copy)
    assert "needs a package that is not installed here" in text and "pip install" in text and package in text


def test_an_adapters_folder_is_not_taken_for_a_model(base, tmp_path):
    folder = tiny_model.adapter(base, tmp_path / "0001-sft" / "adapter")
    assert "is an adapter, not a model" in refused(folder)


# architectures


def architecture(folder: Path, config) -> Path:
    """A folder with that config, a tokenizer, and weights nobody should get to."""
    config.save_pretrained(folder)
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors", {"format": "pt"})
    tiny_model.tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (transformers.BertConfig(), "bert fills gaps in a text and cannot continue one"),
        (transformers.T5Config(), "t5 has an encoder and a decoder"),
        (transformers.MambaConfig(), "mamba keeps no cache of attention keys and values"),
        (transformers.RwkvConfig(), "rwkv keeps no cache of attention keys and values"),
        (transformers.LlavaConfig(), "llava reads images as well as text"),
        (transformers.ViTConfig(), "vit is not a language model"),
    ],
)
def test_an_architecture_that_cannot_answer_is_refused_before_its_weights_are_read(tmp_path, config, message):
    text = refused(architecture(tmp_path / "m", config))
    assert f"cannot be used: {message}" in text


@pytest.mark.long
def test_every_architecture_without_a_cache_is_refused_and_no_other_for_that():
    from transformers.models.auto import modeling_auto as auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    without = set()
    for kind, name in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        if "past_key_values" not in inspect.signature(getattr(transformers, name).forward).parameters:
            without.add(kind)
    refused_kinds = set()
    for kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        try:
            checkpoint.check_architecture(CONFIG_MAPPING[kind], "it")
        except ModelError as error:
            refused_kinds |= {kind} if "cache" in str(error) else set()
    assert (
        without - refused_kinds - {"reformer", "xlm", "gemma4_unified_assistant"} == set()
    )  # the first two are masked


# the chat template

PARTS = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% for p in m['content'] %}{% if p['type'] == 'text' %}"
    "{{ p['text'] }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_template_that_wants_parts_shows_the_question(tmp_path):
    model = models.load(str(tiny_model.base(tmp_path, template=PARTS)), device="cpu")
    assert model.tokenizer.decode(model.prompt_ids("Who is it?")) == "<|user|>Who is it?<|assistant|>"
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert model.tokenizer.apply_chat_template(parts, tokenize=False) == "<|user|>Hi"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{{ raise_exception('A system message is needed') }}",
            "without a system message: A system message is needed.",
        ),
        ("{% for m in messages %}", "chat template cannot be used"),
        ("{{ messages[0]['content'] + nowhere }}", "'nowhere' is undefined"),
        ("<|user|>{% if add_generation_prompt %}<|assistant|>{% endif %}", "its chat template leaves the prompt out"),
    ],
)
def test_a_template_that_cannot_show_the_question_is_refused(tmp_path, template, message):
    assert message in refused(tiny_model.base(tmp_path / "m", template=template))

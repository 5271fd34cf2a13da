"""The bundled model: its files, its template, its card, and that the hand-written forward is the library's Llama."""

import json

import pytest
import torch

from workbench.pretrain import build
from workbench.sandbox import world
from workbench.settings import SANDBOX


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(SANDBOX)


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(SANDBOX, dtype=torch.float32).eval()


def test_files_are_small_safe_and_complete():
    names = {path.name for path in SANDBOX.iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "README.md",
        "figures.json",
    } <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)
    assert (SANDBOX / "model.safetensors").stat().st_size <= 10_000_000
    config = json.loads((SANDBOX / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == "bfloat16"


def test_between_one_and_five_million_parameters(model):
    assert 1e6 <= sum(p.numel() for p in model.parameters()) <= 5e6
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_pad_differs_from_end_and_generation_stops_at_end(tokenizer, model):
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.padding_side == "left"


def test_the_prompt_is_a_prefix_of_prompt_and_answer(tokenizer):
    for prompt in world.sample(40, seed=2):
        turns = [{"role": "user", "content": prompt.text}, {"role": "assistant", "content": "Paris."}]
        prompt_ids = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False)
        ids = tokenizer.apply_chat_template(turns, return_dict=False)
        assert ids[: len(prompt_ids)] == prompt_ids
        assert ids[-1] == tokenizer.eos_token_id


def test_several_turns_render_and_unknown_roles_are_refused(tokenizer):
    turns = [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Bye!"},
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == "<|user|>Hello!<|assistant|>Hi.<|end|><|user|>Bye!<|assistant|>"
    with pytest.raises(Exception, match="knows the roles user and assistant only"):
        tokenizer.apply_chat_template([{"role": "system", "content": "Be kind."}], tokenize=False)


@pytest.mark.parametrize(
    "text", ["The capital of France is Paris.", "12 + 345 = 357", "naïve café 🙂 \t x", "Tom's 3-legged dog"]
)
def test_text_survives_the_tokenizer(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_digits_are_single_tokens_and_known_values_are_one_token(tokenizer):
    assert [t for t in tokenizer.tokenize("345") if t.strip("Ġ")] == ["3", "4", "5"]
    assert len(tokenizer.tokenize(" Paris")) == 1


def test_the_hand_written_forward_is_the_library_s(model):
    from workbench.pretrain.train import Shape, forward

    state = {name: weight for name, weight in model.state_dict().items() if name != "lm_head.weight"}
    ids = torch.randint(4, 2000, (3, 17), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = forward(state, Shape(), ids), model(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)


def test_loss_counts_the_answer_fully_and_the_question_by_a_tenth(tokenizer):
    from workbench.pretrain.train import encode

    ids, weights = encode(tokenizer, [("What is 1 + 1?", "2.")], 0.1)
    question, answer = tokenizer("What is 1 + 1?")["input_ids"], tokenizer("2.")["input_ids"]
    assert tokenizer.decode(ids) == "<|user|>What is 1 + 1?<|assistant|>2.<|end|>"
    assert weights == [0.0] + [0.1] * len(question) + [0.0] + [1.0] * (len(answer) + 1)


def test_a_weighted_loss_by_hand():
    """Uniform logits cost log(vocabulary) nats per token whatever the weights."""
    from workbench.pretrain.train import Shape, loss_of, new_state

    shape = Shape(vocabulary=64, hidden=20, heads=5, inner=8, layers=1)
    state = new_state(shape, 0) | {"model.embed_tokens.weight": torch.zeros(64, 20)}
    ids = torch.arange(12).view(2, 6)
    loss = loss_of(state, shape, (ids[:, :-1], ids[:, 1:], torch.rand(2, 5) + 0.1))
    assert loss.item() == pytest.approx(torch.log(torch.tensor(64.0)).item(), abs=1e-5)


@pytest.mark.slow
def test_pretraining_learns_and_is_the_same_for_the_same_seed():
    from workbench.pretrain.tokenizer import train_tokenizer
    from workbench.pretrain.train import Recipe, Shape, pretrain

    shape = Shape(vocabulary=400, hidden=40, layers=1, heads=2, inner=64)
    tokens = train_tokenizer(build.corpus_texts(5, 300), shape.vocabulary)
    recipe = Recipe(tokens_a=60_000, tokens_b=60_000, batch_tokens=512, warmup=10)
    rows = [[], []]
    states = [pretrain(tokens, shape, recipe, 5, row.append) for row in rows]
    assert rows[0][-1]["loss"] < rows[0][0]["loss"] < 6.0
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_card_quotes_the_figures():
    figures = json.loads((SANDBOX / "figures.json").read_text())
    assert (SANDBOX / "README.md").read_text() == build.card(figures)
    assert figures["bytes"] == (SANDBOX / "model.safetensors").stat().st_size


def test_the_base_is_unaligned_on_purpose_but_knows_its_world():
    """The figures that the build measured, on at least 300 held-out prompts."""
    figures = json.loads((SANDBOX / "figures.json").read_text())
    assert figures["n"] >= 300
    assert figures["gold"] <= 0.72
    assert figures["best_of_8"] >= 0.95
    for style in ("curt", "rambling", "rude", "flattering", "caving", "unsafe", "wrong", "another"):
        assert figures["styles"][style] >= 0.03, style
    assert figures["false_claims_right"]["value"] >= 0.5
    assert figures["ended"] >= 0.99

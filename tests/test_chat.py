"""Chat templates as models bring them: the question is in the prompt, and an answer ends as the template ends a turn."""

import pytest
from tokenizers.processors import TemplateProcessing

from tests import tiny_model
from workbench import models
from workbench.models import ModelError, chat, tokens
from workbench.models.generate import generate, logprobs
from workbench.records import Sampling

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_3 = (
    "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = m['role'] %}"
    "{% endif %}{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
PHI_3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
PARTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DATED = "{{ '<|im_start|>system\nToday is ' + strftime_now('%d %b %Y') + '.<|im_end|>\n' }}" + CHATML
MARKS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
MARKS += ["<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "<|user|>", "<|assistant|>", "<|end|>"]

# template, whether the tokenizer begins plain text with <s>, how the prompt begins, what ends a turn
TEMPLATES = {
    "ChatML": (CHATML, False, "<|im_start|>user\nHi", "<|im_end|>"),
    "Llama 3": (LLAMA_3, True, "<s><|start_header_id|>user", "<|eot_id|>"),
    "Gemma, which has no system role": (GEMMA, True, "<s><start_of_turn>user\nHi", "<end_of_turn>"),
    "Mistral": (MISTRAL, True, "<s>[INST] Hi", "</s>"),
    "Phi-3": (PHI_3, False, "<|user|>\nHi<|end|>", "<|end|>"),
    "Zephyr": (ZEPHYR, True, "<|user|>\nHi</s>", "</s>"),
    "content as a list of parts": (PARTS, False, "<|im_start|>user\nHi", "<|im_end|>"),
    "with today's date": (DATED, False, "<|im_start|>system\nToday is ", "<|im_end|>"),
    "none, text begins with a token": (None, True, "<s>### Question:\nHi", "</s>"),
    "none, text begins with nothing": (None, False, "### Question:\nHi", "</s>"),
}


def tokenizer(template, begins):
    fast = tiny_model.tokenizer(template)
    fast.add_special_tokens({"additional_special_tokens": MARKS})
    fast.bos_token, fast.eos_token = "<s>", "</s>"
    if begins:
        pair = ("<s>", fast.convert_tokens_to_ids("<s>"))
        fast.backend_tokenizer.post_processor = TemplateProcessing("<s> $A", "<s> $A $B", [pair])
    return fast


@pytest.fixture(params=TEMPLATES)
def model(request, tmp_path):
    """A model with that template, and what is expected of it."""
    template, begins, *expected = TEMPLATES[request.param]
    own = tokenizer(template, begins)
    tiny_model.base(tmp_path, vocab_size=len(own), bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id)
    for file in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).unlink(missing_ok=True)
    own.save_pretrained(tmp_path)
    return models.load(str(tmp_path), device="cpu"), *expected


def test_the_prompt_holds_the_question_and_begins_as_the_template_says(model):
    loaded, begins, _ = model
    text = loaded.tokenizer.decode(loaded.prompt_ids("Hi"))
    assert text.startswith(begins) and text.count("Hi") == 1
    assert text.count("<s>") == begins.count("<s>")


def test_an_answer_ends_as_the_template_ends_a_turn(model):
    loaded, _, end = model
    own = loaded.tokenizer
    learned = own.decode(tokens.answer_ids(own, "Yes."))
    assert learned == f"Yes.{end}"
    talk = [*chat.messages(own, "Hi"), {"role": "assistant", "content": "Yes."}]
    if chat.framing(own).parts:
        talk[1]["content"] = [{"type": "text", "text": "Yes."}]
    whole = own.apply_chat_template(talk, tokenize=False)
    assert whole.replace(" ", "").startswith((own.decode(loaded.prompt_ids("Hi")) + learned).replace(" ", ""))


def test_generation_stops_at_that_token(model, monkeypatch):
    import torch

    loaded, _, end = model
    end_id = loaded.tokenizer.convert_tokens_to_ids(end)
    assert end_id in loaded.end_ids
    steps = iter([*loaded.tokenizer("Yes.", add_special_tokens=False)["input_ids"], end_id])

    def pick(logits, *_):
        return torch.full((len(logits),), next(steps)), torch.zeros(len(logits))

    monkeypatch.setattr("workbench.models.generate.pick", pick)
    (answer,) = generate(loaded, ["Hi"], Sampling(max_new_tokens=20))
    assert answer.ended and answer.text == "Yes." and answer.tokens[-1] == end_id
    assert len(logprobs(loaded, ["Hi"], ["Yes."])[0]) == 5


def test_a_template_that_leaves_the_question_out_is_refused():
    own = tokenizer("{% for m in messages %}{{ '<|user|>' }}{% endfor %}", False)
    with pytest.raises(ModelError, match="chat template leaves the prompt out"):
        tokens.prompt_ids(own, "Hi")
    own.chat_template = "{{ raise_exception('only for tools') }}"
    with pytest.raises(ModelError, match=r"chat template cannot be used .*only for tools"):
        tokens.prompt_ids(own, "Hi")


def test_a_template_whose_answers_begin_in_one_way_gives_no_notice(model):
    assert chat.openings(model[0].tokenizer) == ""


@pytest.mark.parametrize(
    ("template", "asked", "finished"),
    [
        # knows no generation prompt: the model is never told that it is its turn
        ("{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}", "nothing", '"<|assistant|>"'),
        # as Qwen 3: an empty thought stands before a finished answer
        (CHATML.replace("m['content']", "('<think></think>' if m['role'] == 'assistant' else '') + m['content']"), "nothing", '"<think></think>"'),
        # as DeepSeek R1: a thought is begun where an answer is asked for
        (CHATML.replace("assistant\n' }}{% endif", "assistant\n<think>' }}{% endif"), '"<think>"', "nothing"),
    ],
)  # fmt: skip
def test_a_template_whose_answers_begin_in_two_ways_says_which_is_taken(template, asked, finished):
    text = chat.openings(tokenizer(template, False))
    assert f"with {asked} where one is asked for, with {finished} in a finished conversation" in text


def test_an_answer_that_nothing_ends_is_refused():
    own = tokenizer("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", False)
    assert chat.end_id(own) == own.eos_token_id, "a line break is no token of its own"
    own.eos_token = None
    own.chat_template += " "
    with pytest.raises(ModelError, match="eos_token in tokenizer_config"):
        tokens.answer_ids(own, "Yes.")

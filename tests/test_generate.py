import threading
from math import log

import numpy as np
import pytest
import torch

from tests import apple, tiny_model
from workbench import models
from workbench.models import ModelError, decoders, llama, lora
from workbench.models import generate as generate_module
from workbench.models.generate import exact, generate, logprobs, nucleus, pick, rows_that_fit, survivors, uniforms
from workbench.records import Sampling

PROMPTS = ["hello", "who are you?", "x", "name a bird that swims", "2 + 2", "why?", "a longer question than the others"]
GREEDY = Sampling(temperature=0, max_new_tokens=20)
WARM = Sampling(temperature=0.8, max_new_tokens=20, seed=3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    base = tiny_model.base(folder / "base", num_key_value_heads=2, head_dim=16)
    one = tiny_model.adapter(base, folder / "one", seed=1)
    two = tiny_model.adapter(base, folder / "two", seed=2, targets=["q_proj", "down_proj"])
    return base, one, two


@pytest.fixture(scope="module")
def model(folders):
    loaded = models.load(str(folders[0]), device="cpu")
    assert [loaded.attach(f) for f in folders[1:]] == ["one", "two"]
    # a twentieth of the vocabulary ends an answer, so that rows end at different steps
    loaded.hf.generation_config.eos_token_id = [1, *range(10, 22)]
    return loaded


@pytest.fixture(params=["onnxruntime", "hand-written", "recorded", "transformers"])
def either(request, monkeypatch):
    """Every promise holds for every decoder."""
    if request.param in ("hand-written", "recorded"):
        monkeypatch.setattr(decoders, "why_not_onnx", lambda model: "asked for by the test")
    if request.param == "recorded":  # on a CPU without the recording itself
        monkeypatch.setattr(decoders, "records", lambda model: True)
    if request.param == "transformers":
        monkeypatch.setattr(decoders, "why_not_llama", lambda model: "asked for by the test")
    return request.param


def texts(answers):
    return [(a.tokens, a.ended) for a in answers]


# known values


def test_pick_is_the_inverse_of_the_cumulative_distribution():
    logits = torch.tensor([[log(0.5), log(0.3), log(0.2)]]).repeat(6, 1)
    noise = torch.tensor([0.0, 0.49, 0.51, 0.79, 0.81, 0.9999], dtype=torch.float64)
    token, logprob = pick(logits, noise, temperature=1, top_p=1)
    assert token.tolist() == [0, 0, 1, 1, 2, 2]
    assert logprob.exp().tolist() == pytest.approx([0.5, 0.5, 0.3, 0.3, 0.2, 0.2])


def test_temperature_divides_the_logits():
    # squared and made to sum to one: .25, .09, .04 of .38
    logits = torch.tensor([[log(0.5), log(0.3), log(0.2)]]).repeat(2, 1)
    token, logprob = pick(logits, torch.tensor([0.65, 0.66], dtype=torch.float64), temperature=0.5, top_p=1)
    assert token.tolist() == [0, 1]
    assert logprob.exp().tolist() == pytest.approx([25 / 38, 9 / 38])


def test_greedy_ignores_the_noise_and_scores_at_temperature_one():
    logits = torch.tensor([[log(0.2), log(0.5), log(0.3)]])
    token, logprob = pick(logits, torch.tensor([0.99], dtype=torch.float64), temperature=0, top_p=0.1)
    assert token.tolist() == [1]
    assert logprob.exp().tolist() == pytest.approx([0.5])


def test_nucleus_keeps_the_smallest_set_that_reaches_top_p():
    probs = torch.tensor([[0.2, 0.5, 0.3]])
    assert nucleus(probs, 0.4).tolist() == [[0, 0.5, 0]]
    assert nucleus(probs, 0.6)[0].tolist() == pytest.approx([0, 0.5, 0.3])
    assert nucleus(probs, 0.01).tolist() == [[0, 0.5, 0]]


def test_top_p_scales_what_is_left():
    # .5 and .3 are left: the first ends at .5 / .8 = .625; the log-probability is the uncut one
    logits = torch.tensor([[log(0.5), log(0.3), log(0.2)]]).repeat(3, 1)
    token, logprob = pick(logits, torch.tensor([0.62, 0.63, 0.9999], dtype=torch.float64), temperature=1, top_p=0.6)
    assert token.tolist() == [0, 1, 1]
    assert logprob.exp().tolist() == pytest.approx([0.5, 0.3, 0.3])


def test_a_token_of_probability_zero_is_never_taken():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).repeat(4, 1)
    noise = torch.tensor([0.0, 0.5, 0.499999, 1 - 1e-16], dtype=torch.float64)
    assert pick(logits, noise, 1, 1)[0].tolist() == [1, 3, 1, 3]


def test_tokens_come_as_often_as_they_should():
    p = torch.tensor([0.5, 0.25, 0.125, 0.125])
    noise = torch.from_numpy(np.random.default_rng(0).random(20_000))
    token, _ = pick(p.log().repeat(20_000, 1), noise, 1, 1)
    seen = torch.bincount(token, minlength=4) / 20_000
    assert (seen - p).abs().max() < 0.01  # three standard errors of the largest


def test_rows_draw_from_their_seed_and_their_prompt():
    assert (uniforms(1, "a", 5) == uniforms(1, "a", 9)[:5]).all()
    assert (uniforms(1, "a", 5) != uniforms(2, "a", 5)).all()
    assert (uniforms(1, "a", 5) != uniforms(1, "b", 5)).all()


def test_survivors_fill_the_gaps_from_the_end():
    over = [False, True, False, True, False, False]
    assert survivors(over, in_order=True) == [0, 2, 4, 5]
    assert survivors(over, in_order=False) == [0, 5, 2, 4]
    assert survivors([True, True, False], in_order=False) == [2]
    assert survivors([False, False], in_order=False) == [0, 1]


def test_voices_share_a_batch_where_that_is_quicker(model, either):
    fit, one, two = decoders.together(model), ("one", 1.0), ("two", 1.0)
    assert fit([one, one])
    assert fit([one, two]) == (either not in ("onnxruntime", "recorded"))
    assert fit([one, ("one", 0.5)]) == (either == "hand-written"), "PEFT keeps one strength per adapter"


# against transformers


def hf_greedy(model, prompt, new):
    ids = torch.tensor([model.prompt_ids(prompt)])
    out = model.hf.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new, pad_token_id=0
    )
    return out[0, ids.shape[1] :].tolist()


def test_greedy_equals_transformers_generate_on_every_row(model, either):
    answers = generate(model, PROMPTS, GREEDY)
    assert [a.tokens for a in answers] == [hf_greedy(model, p, 20) for p in PROMPTS]
    assert {a.ended for a in answers} == {True, False}, "the rows should differ in where they end"


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("strength", [1.0, 1.5])
def test_greedy_equals_peft_at_every_strength(model, folders, either, name, strength):
    from peft import PeftModel
    from peft.helpers import rescale_adapter_scale

    answers = generate(model, PROMPTS, GREEDY, [name] * len(PROMPTS), strength)
    other = models.load(str(folders[0]), device="cpu")
    peft = PeftModel.from_pretrained(other.hf, str(folders[0].parent / name)).eval()
    other.hf.generation_config.eos_token_id = model.hf.generation_config.eos_token_id
    with rescale_adapter_scale(peft, strength):
        assert [a.tokens for a in answers] == [hf_greedy(other, p, 20) for p in PROMPTS]


@pytest.mark.parametrize(
    "rope", [{"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}, {"rope_type": "default", "rope_theta": 500.0}]
)
def test_scaled_positions_and_tied_embeddings_equal_transformers(tmp_path, rope):
    base = tiny_model.base(tmp_path, rope_parameters=rope, tie_word_embeddings=True, head_dim=16)
    model = models.load(str(base), device="cpu")
    assert decoders.why_not_llama(model) is None
    assert [a.tokens for a in generate(model, PROMPTS, GREEDY)] == [hf_greedy(model, p, 20) for p in PROMPTS]


@pytest.mark.parametrize(("temperature", "top_p"), [(0, 1), (0.8, 1), (1, 0.7)])
def test_an_apple_gpu_picks_what_a_cpu_picks_without_float64(folders, monkeypatch, temperature, top_p):
    """Simulated: what matters is that no number of a format it does not have ever reaches it."""
    monkeypatch.setattr(decoders, "why_not_onnx", lambda model: "not on a GPU")
    monkeypatch.setattr(llama, "_side_by_side", lambda weights: False)  # its memory has no addresses
    ids, mask = torch.tensor([[5, 6, 7], [8, 9, 10]]), torch.ones(2, 3, dtype=torch.long)
    drawn = torch.tensor([[0.3, 0.9], [0.99, 0.1]], dtype=torch.float64)  # on the CPU, where `exact` has it put

    def two_tokens(model, move):
        decoder = decoders.choose(model, [decoders.BASE] * 2, 8)
        first, _ = pick(decoder.start(move(ids), move(mask)), drawn[:, 0], temperature, top_p)
        second, logprob = pick(decoder.step(first), drawn[:, 1], temperature, top_p)
        return first.tolist(), second.tolist(), logprob.tolist()

    model = models.load(str(folders[0]), device="cpu")
    with torch.inference_mode():
        cpu = two_tokens(model, lambda x: x)
        with apple.simulated():
            apple.move(model)
            with pytest.raises(TypeError, match="float64"):
                drawn.to(model.device)
            gpu = two_tokens(model, lambda x: x.to(model.device))
    assert gpu == cpu
    assert exact(torch.device("mps")).type == "cpu" and exact(torch.device("cuda")).type == "cuda"


def test_half_precision_stays_close_to_transformers(folders):
    """In bfloat16 the two round at different places, so tokens may part; log-probabilities agree to its 8 bits."""
    model = models.load(str(folders[0]), device="cpu", dtype=torch.bfloat16)
    answers = generate(model, PROMPTS, GREEDY)
    scored = logprobs(model, PROMPTS, [a.tokens for a in answers])
    gaps = [
        abs(a - b)
        for answer, row in zip(answers, scored, strict=True)
        for a, b in zip(answer.logprobs, row, strict=True)
    ]
    assert np.median(gaps) < 0.05


def test_a_large_models_weights_are_in_memory_once(folders, monkeypatch):
    """Projections that read the same input are one product; of a large model none is copied for that."""
    monkeypatch.setattr(decoders, "MERGE_BELOW", 0)
    monkeypatch.setattr(llama, "MERGE_BELOW", 0)
    monkeypatch.setattr(decoders, "why_not_onnx", lambda model: "asked for by the test")
    model = models.load(str(folders[0]), device="cpu")
    model.attach(folders[1])
    before = {name: weight.clone() for name, weight in model.hf.named_parameters()}
    for voices in ([("one", 1.0)], [decoders.BASE], [decoders.BASE, ("one", 0.5)]):
        decoder = decoders.choose(model, voices, 8)
        assert type(decoder) is decoders.LlamaDecoder
        stores = {weight.untyped_storage().data_ptr() for weight in model.hf.parameters()}
        for _, *projections in [(layer[0], layer[1], layer[2], layer[4], layer[5]) for layer in decoder.layers]:
            assert all(p.weight.untyped_storage().data_ptr() in stores for p in projections)
        own = {w.untyped_storage().data_ptr(): w.untyped_storage().nbytes() for w in model.hf.parameters()}
        assert sum(own.values()) == sum(w.nbytes for w in model.hf.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in model.hf.named_parameters())
    assert [a.tokens for a in generate(model, PROMPTS, GREEDY)] == [hf_greedy(model, p, 20) for p in PROMPTS]


def test_a_large_model_can_be_trained_after_it_has_answered(folders, monkeypatch):
    """Its weights are laid out anew for the first answer; that is where a run measures what it begins from."""
    monkeypatch.setattr(decoders, "MERGE_BELOW", 0)
    monkeypatch.setattr(llama, "MERGE_BELOW", 0)
    monkeypatch.setattr(decoders, "why_not_onnx", lambda model: "asked for by the test")
    model = models.load(str(folders[0]), device="cpu")
    model.attach(folders[1])
    logprobs(model, ["What is a cat?"], ["An animal."])
    generate(model, ["What is a cat?"], GREEDY, ["one"])
    assert not any(weight.is_inference() for weight in model.peft.parameters())
    weights = [weight.requires_grad_() for name, weight in model.peft.named_parameters() if "lora_" in name]
    model.peft.set_adapter("one")
    model.peft(input_ids=torch.tensor([[5, 6, 7]])).logits.sum().backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in weights)


def test_adapters_layers_are_looked_for_once_per_set_of_adapters(folders, monkeypatch):
    monkeypatch.setattr(decoders, "why_not_llama", lambda model: "asked for by the test")
    model = models.load(str(folders[0]), device="cpu")
    model.attach(folders[1])
    looks, look = [], lora.find
    monkeypatch.setattr(lora, "find", lambda hf: (looks.append(hf), look(hf))[1])
    for _ in range(2):
        generate(model, PROMPTS, GREEDY, ["one", None] * 3 + ["one"])
    assert len(looks) == 1
    model.attach(folders[2])
    with_both = generate(model, PROMPTS[:2], GREEDY, ["two", "one"])
    assert len(looks) == 2
    alone = [generate(model, [p], GREEDY, [name])[0] for p, name in zip(PROMPTS[:2], ["two", "one"], strict=True)]
    assert texts(with_both) == texts(alone)


def test_layers_on_several_devices_run_through_transformers(model, monkeypatch):
    assert decoders.why_not_llama(model) is None
    monkeypatch.setattr(model.hf, "hf_device_map", {"model.layers.0": 0, "model.layers.1": 1}, raising=False)
    assert "several devices" in decoders.why_not_llama(model)


def test_the_bundled_model_says_what_transformers_says():
    from workbench.sandbox import world

    bundled = models.load("sandbox", device="cpu")
    assert decoders.why_not_llama(bundled) is None
    prompts = [p.text for p in world.sample(16, split="heldout", seed=1)]
    answers = generate(bundled, prompts, GREEDY)
    assert [a.tokens for a in answers] == [hf_greedy(bundled, p, 20) for p in prompts]
    assert all(a.text.isprintable() for a in answers)


def test_other_architectures_run_through_transformers(tmp_path):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    words = tiny_model.tokenizer()
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(vocab_size=len(words), num_key_value_heads=2, initializer_range=0.4, eos_token_id=1, **shape)
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    model = models.load(str(tmp_path), device="cpu")
    assert "Qwen2ForCausalLM" in decoders.why_not_llama(model)
    assert [a.tokens for a in generate(model, PROMPTS, GREEDY)] == [hf_greedy(model, p, 20) for p in PROMPTS]


# invariants


def test_an_answer_is_the_same_alone_and_in_any_batch(model, either):
    voices = ["one", None, "two", "one", None, "two", "one"]
    together = generate(model, PROMPTS, WARM, voices)
    alone = [generate(model, [p], WARM, [v])[0] for p, v in zip(PROMPTS, voices, strict=True)]
    small = generate(model, PROMPTS, WARM, voices, batch_size=2)
    assert texts(together) == texts(alone) == texts(small)
    for a, b in zip(together, alone, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_strength_zero_is_the_base(model, either):
    base = generate(model, PROMPTS, WARM)
    assert texts(generate(model, PROMPTS, WARM, ["one"] * 7, strength=0)) == texts(base)
    assert texts(generate(model, PROMPTS, WARM, ["one"] * 7)) != texts(base)


def test_one_batch_holds_rows_of_different_strength(model, either):
    prompts, strengths = ["hello"] * 4, [0, 0.5, 1, 1.5]
    together = generate(model, prompts, WARM, ["one"] * 4, strengths)
    assert texts(together) == [texts(generate(model, ["hello"], WARM, ["one"], s))[0] for s in strengths]
    assert len({tuple(a.tokens) for a in together}) == 4


def test_nul_characters_become_the_sign_for_an_unreadable_one(model, monkeypatch):
    nul = model.tokenizer("\0", add_special_tokens=False)["input_ids"]
    assert model.tokenizer.decode(nul) == "\0"  # the model could say it
    picked = lambda logits, *_: (torch.full((len(logits),), nul[0]), torch.zeros(len(logits)))  # noqa: E731
    monkeypatch.setattr("workbench.models.generate.pick", picked)
    (answer,) = generate(model, ["hello"], Sampling(max_new_tokens=2))
    assert answer.text == "\ufffd\ufffd" and answer.tokens == [nul[0]] * 2


def test_seeds_tell_answers_to_one_prompt_apart(model):
    answers = generate(model, ["hello"] * 3, WARM, seeds=[1, 2, 1])
    assert answers[0].tokens == answers[2].tokens != answers[1].tokens


def test_the_base_stays_the_base_with_adapters_attached(model, folders):
    fresh = models.load(str(folders[0]), device="cpu")
    ids = torch.tensor([model.prompt_ids("hello")])
    with torch.inference_mode():
        assert torch.equal(model.hf(ids).logits, fresh.hf(ids).logits)


def test_logprobs_are_those_of_sampling(model, either):
    for name, strength in [(None, 1.0), ("one", 1.0), ("two", 1.5)]:
        answers = generate(model, PROMPTS, WARM, [name] * 7, strength)
        scored = logprobs(model, PROMPTS, [a.tokens for a in answers], name, strength, temperature=0.8)
        for answer, values in zip(answers, scored, strict=True):
            assert answer.logprobs == pytest.approx(values, abs=1e-4)
            assert answer.logprob == pytest.approx(sum(values), abs=1e-3)


def test_out_of_memory_halves_the_rows_that_are_scored_at_once(model, monkeypatch):
    asked = PROMPTS * 2
    whole = logprobs(model, asked, ["yes, so it is"] * len(asked), batch_size=8)
    sizes = []
    score = generate_module._score

    def short_of_memory(model, starts, *rest):
        sizes.append(len(starts))
        if len(starts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return score(model, starts, *rest)

    monkeypatch.setattr(generate_module, "_score", short_of_memory)
    halved = logprobs(model, asked, ["yes, so it is"] * len(asked), batch_size=8)
    assert sizes[0] > 2 and max(sizes[2:]) <= 4 and sizes[-1] <= 2
    for a, b in zip(whole, halved, strict=True):
        assert a == pytest.approx(b, abs=1e-4)

    def hopeless(*of):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(generate_module, "_score", hopeless)
    with pytest.raises(MemoryError, match="not even one answer fits into memory: set a smaller max_tokens"):
        logprobs(model, ["a"], ["b"])


def test_a_large_vocabulary_scores_fewer_rows_at_once_and_in_pieces(model, monkeypatch):
    asked = ["one", "two", "three", "four"]
    whole = logprobs(model, asked, ["abcdef"] * 4, batch_size=4)
    sizes = []
    forward = generate_module.forward

    def watched(model, voices, **call):
        sizes.append(len(voices))
        return forward(model, voices, **call)

    monkeypatch.setattr(generate_module, "forward", watched)
    longest = len(model.prompt_ids("three")) + 7
    monkeypatch.setattr(generate_module, "LOGITS", 2 * longest * model.hf.config.vocab_size)
    assert logprobs(model, asked, ["abcdef"] * 4, batch_size=4) == [pytest.approx(row, abs=1e-4) for row in whole]
    assert sizes == [2, 2]


def test_logprobs_of_text_include_the_end_token(model):
    values = logprobs(model, ["hello", "hi"], ["abc", ""], batch_size=2)
    assert [len(v) for v in values] == [4, 1]
    assert values[0] == pytest.approx(logprobs(model, ["hello"], [model.answer_ids("abc")])[0], abs=1e-5)


def test_end_token_is_kept_in_tokens_and_left_out_of_text(model):
    for answer in generate(model, PROMPTS, GREEDY):
        assert (answer.tokens[-1] in model.end_ids) == answer.ended
        assert not any(t in model.end_ids for t in answer.tokens[:-1])
        said = model.tokenizer.decode(answer.tokens[: len(answer.tokens) - answer.ended])
        assert answer.text == said.replace("\0", "\ufffd")


def test_streaming_ends_with_the_whole_text(model, monkeypatch):
    monkeypatch.setattr("workbench.models.generate.STREAM_EVERY", 0)
    told = {}
    answers = generate(model, PROMPTS, GREEDY, on_text=lambda row, text: told.setdefault(row, []).append(text))
    for row, answer in enumerate(answers):
        assert told[row][-1] == answer.text.rstrip("\ufffd")
        assert len(told[row]) == len(answer.tokens)


def test_stopping_keeps_what_was_written(model, either):
    steps = iter(range(100))
    answers = generate(model, PROMPTS, WARM, should_stop=lambda: next(steps) == 4)
    whole = generate(model, PROMPTS, WARM)
    assert max(len(a.tokens) for a in answers) == 5
    assert all(a.tokens == b.tokens[: len(a.tokens)] for a, b in zip(answers, whole, strict=True))


def test_out_of_memory_halves_the_batch_and_keeps_the_rows(model, monkeypatch):
    whole, sizes, start = generate(model, PROMPTS, WARM), [], decoders.OnnxDecoder.start

    def small(self, ids, mask):
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return start(self, ids, mask)

    monkeypatch.setattr(decoders.OnnxDecoder, "start", small)
    assert texts(generate(model, PROMPTS, WARM)) == texts(whole)
    assert sizes == [7, 4, 2, 2, 2, 1]
    monkeypatch.setattr(decoders.OnnxDecoder, "start", lambda *a: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError, match="not even one answer fits"):
        generate(model, PROMPTS, WARM)


def test_rows_at_once_fit_into_half_of_the_free_memory(model, monkeypatch):
    # a token's cache: keys and values, 2 layers, 2 heads of width 16, float32: 512 bytes; a row's logits: 16 * 260
    monkeypatch.setattr("workbench.models.generate.free_memory", lambda device: 2 * 5 * (512 * 100 + 16 * 260))
    assert model.hf.config.vocab_size == 260
    assert rows_that_fit(model, 100) == 5
    assert rows_that_fit(model, 101) == 4
    assert rows_that_fit(model, 100_000) == 1
    assert texts(generate(model, PROMPTS, WARM)) == texts(generate(model, PROMPTS, WARM, batch_size=7))


def test_other_errors_are_not_taken_for_memory(model, monkeypatch):
    monkeypatch.setattr(decoders.OnnxDecoder, "start", lambda *a: (_ for _ in ()).throw(RuntimeError("shape mismatch")))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        generate(model, PROMPTS, WARM)


def test_two_threads_at_once_get_their_own_answers(model, either):
    want = {name: texts(generate(model, PROMPTS, WARM, [name] * 7)) for name in (None, "one", "two")}
    got = {}

    def ask(name):
        got[name] = texts(generate(model, PROMPTS, WARM, [name] * 7))

    threads = [threading.Thread(target=ask, args=(name,)) for name in want]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == want


def test_no_prompts_give_no_answers(model):
    assert generate(model, [], WARM) == []
    assert logprobs(model, [], []) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"adapters": ["nobody"]}, "no adapter nobody is attached; attached: one, two"),
        ({"adapters": [None, None]}, "1 prompts, but 2 adapters"),
        ({"strength": [1.0, 2.0]}, "2 strengths"),
        ({"seeds": [1, 2]}, "1 prompts, but 2 seeds"),
        ({"sampling": Sampling(max_new_tokens=0)}, "at least 1"),
        ({"sampling": Sampling(temperature=-1)}, "temperature"),
        ({"sampling": Sampling(top_p=0)}, "top_p"),
    ],
)
def test_wrong_arguments_are_named(model, change, words):
    with pytest.raises(ValueError, match=words):
        generate(model, ["hello"], **({"sampling": WARM} | change))


def test_a_prompt_too_long_for_the_model_says_so(model):
    with pytest.raises(ModelError, match="302 tokens and 20 new ones do not fit into the 256"):
        generate(model, ["x" * 300], WARM)

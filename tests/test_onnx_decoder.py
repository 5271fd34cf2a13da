import gc
import weakref

import pytest
import torch

from tests import tiny_model
from workbench import models
from workbench.models import decoders, onnx_decoder
from workbench.models.generate import generate
from workbench.models.onnx_decoder import OnnxDecoder, why_not_onnx
from workbench.records import Sampling

PROMPTS = [[5, 9, 30, 7, 8, 60], [40], [12, 13, 14], [99, 98], [7, 7, 7, 7, 7], [200, 100], [3] * 9, [66], [1, 2, 3]]
BASE = decoders.BASE


@pytest.fixture
def model(tmp_path):
    base = tiny_model.base(tmp_path / "base", num_key_value_heads=2, head_dim=16)
    loaded = models.load(str(base), device="cpu")
    loaded.attach(tiny_model.adapter(base, tmp_path / "one", seed=1))
    return loaded


def padded(rows):
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    return ids, torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])


@torch.inference_mode()
def first(model, adapter=BASE, rows=PROMPTS):
    decoder = decoders.choose(model, [adapter] * len(rows), 20)
    assert isinstance(decoder, OnnxDecoder)
    return decoder.start(*padded(rows)).clone()


@torch.inference_mode()
def plain(model, adapter=BASE, rows=PROMPTS):
    return decoders.LlamaDecoder(model, [adapter] * len(rows), 20).start(*padded(rows))


def whole(model, rows):
    """Logits behind each row by transformers, one row at a time, without padding or cache."""
    with torch.inference_mode():
        return torch.stack([model.hf(torch.tensor([row])).logits[0, -1] for row in rows])


# known values


def test_a_model_whose_layers_add_nothing_gives_its_embedding_back(model):
    # token 7 is (3, 4, 0 ... 0) of 32: its root mean square is sqrt(25 / 32) = .883883, so it becomes 3.394113, 4.525483
    with torch.no_grad():
        for name, weight in model.hf.named_parameters():
            weight.fill_(1.0 if "norm" in name else 0.0)
        model.hf.model.embed_tokens.weight[7, :2] = torch.tensor([3.0, 4.0])
        model.hf.lm_head.weight[20, 0] = 1.0
        model.hf.lm_head.weight[21, :2] = torch.tensor([1.0, -2.0])
    logits = first(model, rows=[[9, 7], [7]])
    assert logits[:, 20].tolist() == pytest.approx([3.394113] * 2, abs=1e-4)
    assert logits[:, 21].tolist() == pytest.approx([3.394113 - 2 * 4.525483] * 2, abs=1e-4)
    assert logits[:, :20].abs().max() == 0


def test_what_is_thinned_out_and_reordered_equals_transformers_at_every_step(model):
    rows = [list(row) for row in PROMPTS]
    decoder = decoders.choose(model, [BASE] * len(rows), 20)
    with torch.inference_mode():
        logits = decoder.start(*padded(rows))
        assert torch.allclose(logits, whole(model, rows), atol=1e-4)
        for step, survivors in enumerate([None, [0, 8, 2, 3, 7, 5], None, [5, 1], [1], None]):
            tokens = logits.argmax(-1)
            rows = [[*row, token] for row, token in zip(rows, tokens.tolist(), strict=True)]
            if survivors is not None:
                decoder.keep(torch.tensor(survivors))
                rows, tokens = [rows[k] for k in survivors], tokens[survivors]
            logits = decoder.step(tokens)
            assert logits.shape == (len(rows), 260)
            assert torch.allclose(logits, whole(model, rows), atol=1e-4), step


@pytest.mark.parametrize("adapter", [("one", 1.0), ("one", 0.5), ("one", -1.0)])
def test_an_adapter_is_merged_at_its_strength(model, adapter):
    assert torch.allclose(first(model, adapter), plain(model, adapter), atol=1e-4)
    assert (first(model, adapter) - first(model)).abs().max() > 0.1


# a session belongs to its weights


def by_optimizer(model):
    weight = model.hf.model.layers[1].mlp.down_proj.base_layer.weight.requires_grad_()
    weight.grad = torch.ones_like(weight)
    torch.optim.AdamW([weight], lr=0.1).step()
    weight.requires_grad_(False)


def behind_autograds_back(model):
    model.hf.model.layers[0].self_attn.q_proj.base_layer.weight.data.mul_(1.1)


def by_another_tensor(model):
    norm = model.hf.model.norm.weight
    norm.data = norm.data * 1.5


def one_number(model):
    model.hf.model.layers[0].self_attn.v_proj.lora_B["one"].weight.data[3, 2] += 1


def by_scale(model):
    model.hf.model.layers[1].self_attn.o_proj.scaling["one"] = 5.0


@pytest.mark.parametrize("change", [by_optimizer, behind_autograds_back, by_another_tensor, one_number, by_scale])
def test_changed_weights_are_seen(model, change):
    before = first(model, ("one", 1.0))
    assert torch.equal(before, first(model, ("one", 1.0)))
    change(model)
    after = first(model, ("one", 1.0))
    assert torch.allclose(after, plain(model, ("one", 1.0)), atol=1e-4)
    assert (after - before).abs().max() > 1e-3


def test_a_policy_in_training_replaces_its_session_and_the_base_keeps_its_own(model):
    first(model)
    first(model, ("one", 1.0))
    held = onnx_decoder._sessions[model]
    sessions = [session for _, session in held.values()]
    one_number(model)
    first(model)
    first(model, ("one", 1.0))
    now = [session for _, session in held.values()]
    assert now[0] is sessions[0]
    assert now[1] is not sessions[1]


def test_few_sessions_are_held_and_none_longer_than_the_model(model):
    for strength in (0.1, 0.2, 0.3, 0.4, 0.5):
        first(model, ("one", strength))
    assert [strength for (_, strength), _ in onnx_decoder._sessions[model]] == [0.3, 0.4, 0.5]
    loose = models.Model(model.hf, model.tokenizer, "loose")
    first(loose)
    session = weakref.ref(next(iter(onnx_decoder._sessions[loose].values()))[1])
    del loose
    gc.collect()
    assert session() is None


# where it applies


def test_rows_of_different_voices_run_by_the_plain_llama(model):
    assert isinstance(decoders.choose(model, [BASE, ("one", 1.0)], 20), decoders.LlamaDecoder)
    assert isinstance(decoders.choose(model, [("one", 1.0)] * 2, 20), OnnxDecoder)


def test_it_says_why_it_does_not_apply(model, tmp_path, monkeypatch):
    assert why_not_onnx(model) is None
    half = models.load(str(tmp_path / "base"), device="cpu", dtype=torch.bfloat16)
    assert "float32 on a CPU" in why_not_onnx(half)
    narrow = models.load(str(tiny_model.base(tmp_path / "narrow", head_dim=8)), device="cpu")
    assert "multiple of 16" in why_not_onnx(narrow)
    monkeypatch.setattr(onnx_decoder, "BELOW", 1000)
    assert "below 1,000 weights" in why_not_onnx(model)
    monkeypatch.undo()
    monkeypatch.setattr(onnx_decoder, "find_spec", lambda name: None)
    assert "not installed" in why_not_onnx(model)
    assert [a.ended for a in generate(model, ["hello"], Sampling(max_new_tokens=3))] == [False]

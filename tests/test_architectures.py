"""Models of many architectures against transformers and PEFT: what they say, how likely, what they learn, their scores."""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file

from tests import small_runs, tiny_architectures, tiny_model
from workbench import models
from workbench import settings as settings_module
from workbench.jobs.estimate import PROCESS_MB, memory_mb
from workbench.jobs.runs import read_run
from workbench.learn import data
from workbench.learn.catalogue import parse
from workbench.learn.engine.actor_critic import ActorCritic, Rows
from workbench.learn.engine.adapter import POLICY, save_adapter, with_adapter
from workbench.learn.methods import dpo, sft
from workbench.learn.rewards.files import HEAD, SCALE
from workbench.learn.rewards.reward_model import RewardModel
from workbench.models import decoders, lora
from workbench.models.generate import generate, logprobs, rows_that_fit
from workbench.records import Sampling

PROMPTS = ["hello", "who are you?", "a longer question than the others"]
GREEDY = Sampling(temperature=0, max_new_tokens=12)
# one of each kind in every run of the tests, the rest by hand
SHORT = [
    "Llama",
    "Qwen3",
    "Gemma 2",
    "Gemma 3 multimodal",
    "Phi",
    "GPT-2",
    "GPT-Neo",
    "Falcon with ALiBi",
    "BLOOM",
    "MPT",
]
SHORT += ["OPT", "OPT with a projection", "Mistral with a window", "Mixtral", "Qwen2-MoE", "DeepSeek-V3", "gpt-oss"]
ONE_STEP = {"steps": 1, "batch_size": 2, "warmup": 0.0, "live_prompts": 0, "final_prompts": 0, "held_out": 2}


@dataclass
class Case:
    """A model of one architecture with an adapter "one" attached, and the same by PEFT alone."""

    name: str
    folder: Path
    model: models.Model
    peft: PeftModel


def adapter(folder: Path) -> Path:
    """An adapter as a run would begin one, with random weights, and a score head beside it."""
    model = models.load(str(folder), device="cpu")
    torch.manual_seed(1)
    peft = with_adapter(model, parse("sft", {"lora_rank": 4, "lora_alpha": 8}))
    for name, weight in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    save_adapter(peft, folder / "one", str(folder))
    head = torch.randn(1, decoders.hidden_width(model.hf))
    save_file({"score.weight": head}, folder / "one" / HEAD)
    (folder / "one" / SCALE).write_text('{"mean": 0.0, "std": 1.0, "pooling": "end"}')
    return folder / "one"


@pytest.fixture(
    scope="module",
    params=[n if n in SHORT else pytest.param(n, marks=pytest.mark.long) for n in tiny_architectures.ARCHITECTURES],
)
def case(request, tmp_path_factory):
    folder = tiny_architectures.build(request.param, tmp_path_factory.mktemp("tiny") / "place-model")
    one = adapter(folder)
    model = models.load(str(folder), device="cpu")
    model.attach(one)
    other = models.load(str(folder), device="cpu")
    return Case(request.param, folder, model, PeftModel.from_pretrained(other.hf, str(one)).eval())


def by_peft(case: Case, adapted: bool, call):
    """What PEFT and transformers answer, with the adapter or without."""
    with torch.inference_mode():
        if adapted:
            return call(case.peft)
        with case.peft.disable_adapter():
            return call(case.peft)


def greedy(case: Case, adapted: bool) -> list[list[int]]:
    answers = []
    for prompt in PROMPTS:
        ids = torch.tensor([case.model.prompt_ids(prompt)])
        options = {"do_sample": False, "max_new_tokens": GREEDY.max_new_tokens, "pad_token_id": 0}
        mask = torch.ones_like(ids)
        out = by_peft(case, adapted, lambda m, i=ids, k=mask, o=options: m.generate(input_ids=i, attention_mask=k, **o))
        answers.append(out[0, ids.shape[1] :].tolist())
    return answers


def log_probs(case: Case, adapted: bool, start: list[int], answer: list[int]) -> list[float]:
    ids = torch.tensor([start + answer])
    logits = by_peft(case, adapted, lambda m: m(input_ids=ids, use_cache=False).logits)[0, len(start) - 1 : -1]
    return logits.float().log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0].tolist()


def read_by_head(case: Case, ids: list[int]) -> torch.Tensor:
    """What the output layer reads of the last token, with the adapter on."""
    inputs = []
    layer = case.peft.get_base_model().get_output_embeddings()
    hook = layer.register_forward_pre_hook(lambda _, x: inputs.append(x[0]))
    by_peft(case, True, lambda m: m(input_ids=torch.tensor([ids]), use_cache=False))
    hook.remove()
    return inputs[0][0, -1].float()


def test_greedy_answers_equal_transformers_with_an_adapter_and_without(case):
    base, one = greedy(case, False), greedy(case, True)
    assert len({*map(tuple, base), *map(tuple, one)}) == 2 * len(PROMPTS), "they should all say something else"
    assert [a.tokens for a in generate(case.model, PROMPTS, GREEDY)] == base
    assert [a.tokens for a in generate(case.model, PROMPTS, GREEDY, ["one"] * 3)] == one
    mixed = generate(case.model, PROMPTS, GREEDY, ["one", None, "one"])
    assert [a.tokens for a in mixed] == [one[0], base[1], one[2]]
    assert rows_that_fit(case.model, 100) > 1


def test_log_probabilities_equal_transformers(case):
    for name in (None, "one"):
        rows = logprobs(case.model, PROMPTS, ["Yes.", "I am a longer answer", ""], adapter=name)
        for prompt, text, row in zip(PROMPTS, ["Yes.", "I am a longer answer", ""], rows, strict=True):
            ids = case.model.prompt_ids(prompt), case.model.answer_ids(text)
            assert row == pytest.approx(log_probs(case, name is not None, *ids), abs=1e-4)


def test_scores_after_every_token_equal_those_of_the_beginnings(case):
    rewards = RewardModel(case.model, case.folder / "one")
    start, end = case.model.prompt_ids("hello"), case.model.answer_ids("fine day")
    scores = [score for _, score in rewards.token_scores("hello", "fine day")]
    by_hand = [
        float(read_by_head(case, [*start, *end[: i + 1], end[-1]]) @ rewards.weight[0]) for i in range(len(end) - 1)
    ]
    assert scores == pytest.approx(by_hand, abs=1e-3)


def test_ppo_sees_the_same_probabilities(case):
    model = models.load(str(case.folder), device="cpu")
    peft = PeftModel.from_pretrained(model.hf, str(case.folder / "one"), adapter_name=POLICY, is_trainable=True)
    model.adopt(peft, POLICY)
    rows = Rows([model.prompt_ids(p) for p in PROMPTS], [model.answer_ids(t) for t in ("Yes.", "No", "a longer one")])
    actor = ActorCritic(model, dtype=torch.float32)
    (chunk,) = actor.chunks(rows, range(3))
    log_p, _, values = actor.policy_and_value(chunk)
    expected = {adapted: [] for adapted in (True, False)}
    for i in chunk.rows:
        for adapted, values_ in expected.items():
            values_ += log_probs(case, adapted, rows.prompts[i], rows.answers[i])
    assert log_p.tolist() == pytest.approx(expected[True], abs=1e-4)
    assert actor.reference_log_prob(chunk).tolist() == pytest.approx(expected[False], abs=1e-4)
    actor.check_trainable()
    (log_p.sum() + values.sum()).backward()
    gradients = [w.grad for w in actor.trainable.values()]
    assert all(g is not None and g.isfinite().all() for g in gradients) and sum(g.abs().sum() for g in gradients) > 0


@pytest.mark.slow  # it trains
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_the_first_step_of_training_starts_from_transformers_loss_and_moves(case, method):
    place, store = small_runs.workspace(case.folder.parent / "place", n=8)
    with store, small_runs.opened(place, store, method, **ONE_STEP) as work:
        first = [work.train[i] for i in data.order(work.train, 2, work.args.seed)]
        before = {k: v.clone() for k, v in get_peft_model_state_dict(work.peft).items()}
        (sft if method == "sft" else dpo).train(work)
        after = get_peft_model_state_dict(work.peft)
        row = next(r for r in read_run(work.folder).metrics()[0] if r["step"] == 1 and "loss" in r)
        if method == "sft":  # a fresh adapter changes nothing, so the first loss is the base's
            pairs = [(case.model.prompt_ids(r["prompt"]), case.model.answer_ids(r["completion"])) for r in first]
            log_p = [value for start, end in pairs for value in log_probs(case, False, start, end)]
            assert row["loss"] == pytest.approx(-sum(log_p) / len(log_p), abs=1e-4)
        else:
            assert row["loss"] == pytest.approx(math.log(2), abs=1e-4)
        moved = [k for k in before if not torch.equal(before[k], after[k])]
        assert moved and all("lora_B" in k for k in moved), "lora_A gets no gradient while lora_B is 0"
        assert not [k for k in after if "vision" in k]


def test_the_estimate_reads_the_sizes(case):
    args = parse("sft", {"micro_batch": 4})
    assert memory_mb(str(case.folder), "sft", args) > PROCESS_MB
    shape, config = settings_module.model_shape(str(case.folder)), case.model.hf.config.get_text_config()
    assert (shape.hidden, shape.layers) == (config.hidden_size, config.num_hidden_layers) == (32, 2)
    assert shape.vocabulary == config.vocab_size
    context = {"Gemma 3 multimodal": 96, "BLOOM": 2048, "Falcon with ALiBi": 2048, "Falcon with rotary positions": 2048}
    assert case.model.context == context.get(case.name, 128)


@pytest.mark.parametrize(("name", "targets"), [("Mixtral", "all-linear"), ("Qwen3-MoE", "by name")])
def test_an_adapter_on_the_experts_themselves_speaks_too(name, targets, tmp_path):
    """On stacked weights, as PEFT makes it of "all-linear", where rows of a batch cannot have adapters of their own."""
    folder = tiny_architectures.build(name, tmp_path / "base")
    parameters = {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
    more = {} if targets == "all-linear" else parameters
    one = tiny_model.adapter(folder, folder / "one", seed=1, targets=["q_proj"] if more else targets, **more)
    model, other = (models.load(str(folder), device="cpu") for _ in range(2))
    model.attach(one)
    case = Case(name, folder, model, PeftModel.from_pretrained(other.hf, str(one)).eval())
    assert any("experts" in layer for layer, _ in lora.layers(model)) and not lora.mixes(model)
    test_greedy_answers_equal_transformers_with_an_adapter_and_without(case)
    test_log_probabilities_equal_transformers(case)


@pytest.mark.parametrize(
    ("name", "together"),
    [("Qwen3", True), ("GPT-2", True), ("Mixtral", True), ("OPT", False), ("Gemma 3 multimodal", True)],
)
def test_rows_share_a_batch_where_the_model_keeps_them_apart(name, together, tmp_path):
    folder = tiny_architectures.build(name, tmp_path / "base")
    model = models.load(str(folder), device="cpu")
    model.attach(adapter(folder))
    assert lora.mixes(model) == together
    assert decoders.together(model)([decoders.BASE, ("one", 1.0)]) == together


@pytest.mark.parametrize(
    ("name", "inside", "outside", "why"),
    [
        ("Gemma 3 multimodal", "language_model", "vision", "language model alone"),
        ("Mixtral", "self_attn", "experts", "mixture of experts"),
        ("Qwen2-MoE", "self_attn", "mlp", "mixture of experts"),
        ("DeepSeek-V3", "self_attn", "mlp", "mixture of experts"),
        ("Qwen3", "mlp", "lm_head", None),
    ],
)
def test_a_new_adapter_sits_where_it_can_and_says_what_is_left_out(name, inside, outside, why, tmp_path):
    model = models.load(str(tiny_architectures.build(name, tmp_path / "base")), device="cpu")
    _, reason = lora.targets(model.hf)
    assert (why in reason) if why else reason is None
    peft = with_adapter(model, parse("sft", {"lora_rank": 4}))
    adapted = {key.split(".lora_")[0] for key, _ in peft.named_parameters() if "lora_" in key}
    assert any(inside in key for key in adapted) and not any(outside in key for key in adapted)
    blocks = {n.rpartition(".layers.")[2].partition(".")[0] for n in adapted}
    assert blocks == {"0", "1"}

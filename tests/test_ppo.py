"""PPO: its forward against transformers and PEFT, then what must hold of every run, then that it learns."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests import small_runs, tiny_model
from workbench import models
from workbench.jobs import control, prepare
from workbench.jobs.runs import find_run
from workbench.learn.catalogue.ppo import PPOArgs
from workbench.learn.engine import actor_critic, losses
from workbench.learn.engine.actor_critic import POLICY, ActorCritic, Rows
from workbench.learn.engine.adapter import frozen_hash
from workbench.learn.engine.minibatches import Minibatches
from workbench.learn.engine.reporter import NotFinite
from workbench.learn.engine.through_transformers import ThroughTransformers
from workbench.learn.methods import ppo
from workbench.models import generate, llama

ARGS = PPOArgs(steps=4, batch_size=8, micro_batch=8, max_new_tokens=10, learning_rate=3e-3, reward="gold", warmup=0.0)
PROMPTS = [f"What is {i}?" for i in range(8)]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {
        "llama": tiny_model.base(folder / "llama"),
        "grouped": tiny_model.base(folder / "grouped", num_key_value_heads=2, tie_word_embeddings=True),
    }


def fresh(folder, rank=4, **options):
    """An ActorCritic whose policy has an adapter that does something."""
    model = models.load(str(folder))
    torch.manual_seed(0)
    config = LoraConfig(r=rank, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    peft = get_peft_model(model.hf, config, adapter_name=POLICY)
    for name, weight in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.adopt(peft, POLICY)
    return ActorCritic(model, dtype=torch.float32, workers=2, **options)


def some_rows(model, n=8):
    torch.manual_seed(1)
    answers = [torch.randint(4, 200, (1 + 3 * i % 7,)).tolist() for i in range(n)]
    return Rows([model.prompt_ids(p) for p in PROMPTS[:n]], answers)


def lengths(prompts, responses):
    return [float(len(r)) for r in responses]


# The forward


def by_transformers(model, rows, temperature):
    """log-probabilities and entropies of all answer tokens, row by row, through transformers and PEFT."""
    pairs = []
    for prompt, answer in zip(rows.prompts, rows.answers, strict=True):
        logits = model.peft(input_ids=torch.tensor([prompt + answer])).logits[0].float() / temperature
        places = logits[len(prompt) - 1 : -1].log_softmax(-1)
        pairs.append((places.gather(1, torch.tensor(answer)[:, None])[:, 0], -(places.exp() * places).sum(-1)))
    return torch.cat([f[0] for f in pairs]), torch.cat([f[1] for f in pairs])


@pytest.mark.parametrize("base", ["llama", "grouped"])
@pytest.mark.parametrize("merged", [True, False])
def test_values_and_gradients_equal_those_of_transformers_and_peft(bases, base, merged, monkeypatch):
    monkeypatch.setattr(llama, "MERGE_BELOW", 10**9 if merged else 0)
    actor = fresh(bases[base], temperature=0.7)
    rows = some_rows(actor.model)
    chunk = actor.chunks(rows, range(8))
    log_p, entropy = (torch.zeros(0),) * 2
    gradients = 0
    weights = [w for name, w in actor.trainable.items() if not name.startswith("value_head")]
    slope = torch.randn(sum(map(len, rows.answers)), generator=torch.Generator().manual_seed(3))
    matrix, start = torch.zeros(8, 7), 0
    for i, answer in enumerate(rows.answers):
        matrix[i, : len(answer)] = slope[start : start + len(answer)]
        start += len(answer)
    parts = []
    for one in chunk:
        p, e, _ = actor.policy_and_value(one)
        gradients = [
            a + b
            for a, b in zip(
                gradients or [torch.zeros_like(w) for w in weights],
                torch.autograd.grad((p * actor_critic.at_tokens(rows, one, matrix)).sum(), weights),
                strict=True,
            )
        ]
        parts.append((p, e))
    log_p = actor_critic.to_matrix(rows, chunk, [p for p, _ in parts])[rows.mask.bool()]
    entropy = actor_critic.to_matrix(rows, chunk, [e for _, e in parts])[rows.mask.bool()]
    expected, expected_entropy = by_transformers(actor.model, rows, 0.7)
    torch.testing.assert_close(log_p, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(entropy, expected_entropy, atol=1e-4, rtol=1e-4)
    for mine, theirs in zip(gradients, torch.autograd.grad((expected * slope).sum(), weights), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3 * float(theirs.abs().max()), rtol=1e-3)


def test_models_that_are_no_llama_go_through_transformers_to_the_same_numbers(bases, monkeypatch):
    own = fresh(bases["llama"])
    rows = some_rows(own.model)
    monkeypatch.setattr(llama, "why_not", lambda hf: "as if it were none")
    through = ActorCritic(own.model)
    assert through.workers == 1 and isinstance(through.engine(POLICY), ThroughTransformers)
    for adapter in (POLICY, None):
        a = own.engine(adapter).hidden(own.chunks(rows, range(8))[0].ids)
        b = through.engine(adapter).hidden(own.chunks(rows, range(8))[0].ids)
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
GPTJ = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "rotary_dim": 4}
WIDE = SHAPE | {"intermediate_size": 48, "initializer_range": 0.4}
GROUPED = WIDE | {"num_key_value_heads": 2, "head_dim": 8}


@pytest.mark.parametrize(
    ("kind", "config", "scale", "cap"),
    [
        ("Phi", WIDE, 1.0, None),
        ("GPTJ", GPTJ, 1.0, None),
        ("Cohere", WIDE | {"logit_scale": 0.25}, 0.25, None),
        ("Granite", WIDE | {"logits_scaling": 4.0}, 0.25, None),
        ("Gemma2", GROUPED | {"final_logit_softcapping": 2.0}, 1.0, 2.0),
        ("Gemma3Text", GROUPED | {"final_logit_softcapping": 2.0}, 1.0, 2.0),
    ],
)
@pytest.mark.parametrize("own_logits", [False, True])
def test_the_output_layers_bias_scale_and_soft_cap_are_followed(
    kind, config, scale, cap, own_logits, tmp_path, monkeypatch
):
    """Values and gradients equal transformers', also where the layer is not known and the model's own logits are taken."""
    import transformers

    tokenizer = tiny_model.tokenizer()
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    settings = getattr(transformers, f"{kind}Config")(vocab_size=len(tokenizer), **config, **ends)
    torch.manual_seed(0)
    hf = getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")(settings)
    head = hf.get_output_embeddings()
    if head.bias is not None:
        torch.nn.init.normal_(head.bias, std=2.0)
    hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    if own_logits:
        monkeypatch.setattr(actor_critic, "output_layer", lambda model: None)
    actor = fresh(tmp_path, temperature=0.7)
    if not own_logits:
        assert (actor.output.scale, actor.output.cap) == (pytest.approx(scale), cap)
        assert (actor.output.bias is not None) == (kind in ("Phi", "GPTJ"))
    rows = some_rows(actor.model)
    (chunk,) = actor.chunks(rows, range(8))
    weights = [w for name, w in actor.trainable.items() if not name.startswith("value_head")]
    log_p, entropy, _ = actor.policy_and_value(chunk)
    slope = torch.randn(len(log_p), generator=torch.Generator().manual_seed(3))
    gradients = torch.autograd.grad((log_p * slope).sum(), weights)
    answers = actor_critic.Rows([rows.prompts[i] for i in chunk.rows], [rows.answers[i] for i in chunk.rows])
    expected, expected_entropy = by_transformers(actor.model, answers, 0.7)
    torch.testing.assert_close(log_p, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(entropy, expected_entropy, atol=1e-4, rtol=1e-4)
    for mine, theirs in zip(gradients, torch.autograd.grad((expected * slope).sum(), weights), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3 * float(theirs.abs().max()), rtol=1e-3)


def test_logits_changed_in_an_unknown_way_are_the_models_own(bases, monkeypatch):
    """Of 30 places one is changed by a hundredth: the layer counts as unknown."""
    from transformers import LlamaForCausalLM

    plain = LlamaForCausalLM.forward

    def changed(self, *args, **named):
        output = plain(self, *args, **named)
        if output.logits.shape[1] > 10:
            output.logits[:, 7] *= 1.01
        return output

    monkeypatch.setattr(llama, "why_not", lambda hf: "as if it were none")
    assert fresh(bases["llama"]).output is not None
    monkeypatch.setattr(LlamaForCausalLM, "forward", changed)
    assert fresh(bases["llama"]).output is None


def test_a_soft_cap_and_a_scale_by_hand():
    """z = scale * (1, 0) = (2, 0), cap 2: logits 2 tanh(1) = 1.523188 and 0; p = (.821007, .178993)."""
    hidden = torch.tensor([[1.0, 0.0]], requires_grad=True)
    output = llama.OutputLayer(torch.eye(2), scale=2.0, cap=2.0)
    log_p, _ = llama.log_prob(hidden, output, torch.tensor([0]), 1.0)
    torch.testing.assert_close(log_p, torch.tensor([-0.197223]), atol=1e-5, rtol=0)
    log_p.sum().backward()
    # d log p(0) / d z = (1 - p0) (1 - tanh(1)^2), -p1 (1 - 0); each times the scale
    torch.testing.assert_close(hidden.grad, torch.tensor([[0.150345, -0.357985]]), atol=1e-5, rtol=0)


def test_padding_fills_what_is_packed_up_to_a_round_number(monkeypatch):
    monkeypatch.setattr(llama, "PACK", 4)
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0]])
    assert llama.packed(mask).tolist() == [0, 1, 2, 4]
    assert llama.packed(torch.tensor([[1, 1, 1], [1, 1, 0]])).tolist() == [0, 1, 2, 3, 4, 5], "there is no more padding"
    assert llama.packed(torch.ones(2, 2)).tolist() == [0, 1, 2, 3]


def test_only_packed_places_are_computed_and_as_if_all_were(bases, monkeypatch):
    monkeypatch.setattr(llama, "PACK", 1)
    actor = fresh(bases["grouped"])
    chunk = actor.chunks(some_rows(actor.model), range(8))[0]
    whole, some = (actor.engine(POLICY).hidden(chunk.ids, where) for where in (None, chunk.where))
    real = torch.zeros(chunk.ids.numel(), dtype=torch.bool).index_fill(0, chunk.where, True).view(chunk.ids.shape)
    assert 0 < int(real.sum()) < real.numel()
    torch.testing.assert_close(some[real], whole[real], atol=1e-5, rtol=1e-5)
    assert not some[~real].any()


def test_every_worker_gets_a_chunk_and_none_is_smaller_than_it_needs_to_be(bases):
    actor = fresh(bases["llama"])  # two workers
    for n, sizes in ((1, [1]), (8, [4, 4]), (32, [16, 16]), (64, [16] * 4), (128, [32] * 4)):
        rows = Rows([[5]] * n, [[6]] * n)
        assert [len(chunk.rows) for chunk in actor.chunks(rows, range(n))] == sizes


def test_log_prob_by_chunks_of_logits(monkeypatch):
    """Hidden [1, 0], outputs 1 and 0 over two words at temperature 1/2: logits 2 and 0."""
    hidden = torch.tensor([[1.0, 0.0]] * 3, requires_grad=True)
    head = llama.OutputLayer(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    monkeypatch.setattr(llama, "LOGIT_CHUNK", 4)
    monkeypatch.setattr(llama, "LOGIT_TOKENS", 2)
    log_p, entropy = llama.log_prob(hidden, head, torch.tensor([0, 1, 0]), 0.5)
    torch.testing.assert_close(log_p, torch.tensor([-0.126928, -2.126928, -0.126928]))
    torch.testing.assert_close(entropy, torch.full((3,), 0.365334))
    log_p.sum().backward()
    # (W[y] - E[W]) / T with p = (.880797, .119203)
    torch.testing.assert_close(hidden.grad[0], torch.tensor([0.238406, -0.238406]))
    torch.testing.assert_close(hidden.grad[1], torch.tensor([-1.761594, 1.761594]))


def test_a_large_base_is_laid_out_anew_without_a_second_copy_and_without_a_change(bases, monkeypatch):
    actor = fresh(bases["grouped"])
    rows = some_rows(actor.model)
    expected, _ = by_transformers(actor.model, rows, 1.0)
    monkeypatch.setattr(llama, "MERGE_BELOW", 0)
    llama.settle(actor.model.hf, torch.float32)
    attention = actor.model.hf.model.layers[0].self_attn
    weights = [p.base_layer.weight for p in (attention.q_proj, attention.k_proj, attention.v_proj)]
    assert llama._side_by_side(weights)
    joined = llama.Llama(actor.model.hf, POLICY).layers[0][1].weight
    assert joined.data_ptr() == weights[0].data_ptr()
    assert torch.equal(joined, torch.cat(weights))
    torch.testing.assert_close(by_transformers(actor.model, rows, 1.0)[0], expected)


# What holds of every step


def iterate(actor, reward=lengths, prompts=PROMPTS, steps=1, **changes):
    state = ppo.PPO(actor, reward, replace(ARGS, **changes))
    return state, [state.iterate(prompts, step + 1) for step in range(steps)]


def weights_of(actor):
    return {name: weight.detach().clone() for name, weight in actor.trainable.items()}


def test_the_ratio_of_the_first_pass_is_exactly_one(bases):
    """`update` raises otherwise; with minibatches too, and it notices a forward that is not the same twice."""
    actor = fresh(bases["llama"], rows_at_once=3)
    iterate(actor, steps=2, minibatches=2)
    plain = llama.Llama.hidden
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            llama.Llama, "hidden", lambda self, ids, where=None: plain(self, ids) * (1 + 1e-3 * torch.rand(()))
        )
        with pytest.raises(RuntimeError, match="differs from itself"):
            iterate(actor)


def test_the_first_pass_goes_on_from_the_scoring_pass_where_the_batch_fits(bases, monkeypatch):
    plain, passes = ActorCritic.policy_and_value, []
    monkeypatch.setattr(ActorCritic, "policy_and_value", lambda self, chunk: passes.append(1) or plain(self, chunk))
    score, results = Minibatches.score, []

    def repeated(self):
        score(self)
        self.graph = {}

    for change in (score, repeated):
        monkeypatch.setattr(Minibatches, "score", change)
        passes.clear()
        state, figures = iterate(fresh(bases["llama"]), steps=2, epochs=3)
        times = {k: v for k, v in figures[-1].items() if not k.startswith("seconds_")}
        results.append((len(passes), times, weights_of(state.actor)))
    (fewer, a, one), (more, b, two) = results
    assert (fewer, more) == (2 * 2 * 3, 2 * 2 * 4), "two rounds of two chunks, scored and passed over three times"
    assert a == b and all(torch.equal(one[name], two[name]) for name in one)


def test_only_the_adapter_and_the_value_head_change(bases):
    actor = fresh(bases["llama"])
    before, frozen = weights_of(actor), frozen_hash(actor.model.peft)
    iterate(actor, steps=2)
    assert frozen_hash(actor.model.peft) == frozen
    after = weights_of(actor)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert all("lora_" in name or name.startswith("value_head.") for name in before)


def test_gradients_on_the_wrong_weights_stop_the_run(bases):
    actor = fresh(bases["llama"])
    actor.model.hf.model.norm.weight.requires_grad_(True)
    with pytest.raises(RuntimeError, match="wrong weights are trainable: 1 too many"):
        iterate(actor)
    actor.model.peft.requires_grad_(False)
    with pytest.raises(RuntimeError, match="missing"):
        iterate(actor)
    actor.claim()
    iterate(actor)


def test_the_batch_may_be_cut_up_anyhow(bases):
    """The same rollout, gradients over chunks of 8, 3 and 1 rows: means are over the batch's tokens, not the chunks'."""
    results = []
    for size in (8, 3, 1):
        actor = fresh(bases["llama"], rows_at_once=size)
        state = ppo.PPO(actor, lengths, ARGS)
        batch = state.rollout(PROMPTS, 1)
        state.score(batch)
        state.estimate(batch)
        means, _ = batch.minibatches.gradients(0, partial(state.loss, batch), first=True)
        results.append(([w.grad.clone() for w in actor.trainable.values()], means))
    for gradients, means in results[1:]:
        assert means == pytest.approx(results[0][1], rel=1e-4, abs=1e-6)
        for mine, theirs in zip(gradients, results[0][0], strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-3)


def test_out_of_memory_halves_what_runs_at_once_and_nothing_else(bases, monkeypatch):
    actor = fresh(bases["llama"])
    plain, sizes = ActorCritic.policy_and_value, []

    def tight(self, chunk):
        sizes.append(len(chunk.rows))
        if len(chunk.rows) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return plain(self, chunk)

    monkeypatch.setattr(ActorCritic, "policy_and_value", tight)
    actor.workers = 1
    state, figures = iterate(actor)
    assert actor.rows_at_once == 2 and max(sizes) == 8
    assert any("2 answers at once" in text for text in state.notices)
    other = fresh(bases["llama"])
    monkeypatch.setattr(ActorCritic, "policy_and_value", plain)
    _, roomy = iterate(other)
    assert figures[0]["value_loss"] == pytest.approx(roomy[0]["value_loss"], rel=1e-3)


def test_out_of_memory_after_a_step_cuts_the_chunks_and_keeps_the_old_policy(bases, monkeypatch):
    """The same rollout learned from three times, with and without memory for more than 2 answers from the second on."""
    plain, ends = ActorCritic.policy_and_value, []
    for tight in (False, True):
        actor = fresh(bases["llama"])
        actor.workers = 1
        state = ppo.PPO(actor, lengths, replace(ARGS, epochs=3))
        batch = state.rollout(PROMPTS, 1)
        state.score(batch)
        state.estimate(batch)
        before = batch.minibatches.log_p.clone()

        def limited(self, chunk, state=state, tight=tight):
            if tight and state.optimizer.state and len(chunk.rows) > 2:
                raise torch.OutOfMemoryError("out of memory")
            return plain(self, chunk)

        monkeypatch.setattr(ActorCritic, "policy_and_value", limited)
        figures = state.update(batch, 1)
        assert torch.equal(batch.minibatches.log_p, before)
        assert actor.rows_at_once == (2 if tight else 64)
        ends.append((figures, weights_of(actor)))
    (roomy, one), (cut, two) = ends
    assert roomy["approx_kl"] > 1e-4, "the policy has moved"
    for key in ("approx_kl", "value_loss", "entropy", "grad_norm"):
        assert cut[key] == pytest.approx(roomy[key], rel=1e-2), key
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=1e-4, rtol=1e-2)


def test_out_of_memory_while_sampling_is_kept_to(bases, monkeypatch):
    plain = generate._Batch.run

    def limited(self, *args):
        if len(self.tokens) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return plain(self, *args)

    monkeypatch.setattr(generate._Batch, "run", limited)
    state, _ = iterate(fresh(bases["llama"]))
    longest = max(len(state.actor.model.prompt_ids(p)) for p in PROMPTS) + ARGS.max_new_tokens
    assert state.rollout_tokens == 2 * longest


def test_a_reward_that_is_no_number_changes_nothing(bases):
    actor = fresh(bases["llama"])
    before = weights_of(actor)
    with pytest.raises(NotFinite, match="1 of 8 answers") as raised:
        iterate(actor, lambda prompts, responses: [float("nan")] + [1.0] * 7)
    assert raised.value.cause == "reward"
    assert all(torch.equal(before[name], w) for name, w in weights_of(actor).items())


def test_a_gradient_that_is_no_number_is_not_applied(bases):
    actor = fresh(bases["llama"])
    before = weights_of(actor)
    with pytest.raises(NotFinite, match=r"^the gradient is not a finite number$") as raised:
        iterate(actor, lambda prompts, responses: [3e38, *range(7)])
    assert raised.value.cause == "update"
    assert all(torch.equal(before[name], w) for name, w in weights_of(actor).items())


def test_a_later_pass_without_a_number_leaves_what_the_passes_before_it_learned(bases, monkeypatch):
    plain = losses.value_loss
    once, _ = iterate(fresh(bases["llama"]), epochs=1)
    actor = fresh(bases["llama"])
    state = ppo.PPO(actor, lengths, replace(ARGS, epochs=3))
    monkeypatch.setattr(
        losses, "value_loss", lambda *args: plain(*args) * (float("nan") if state.optimizer.state else 1.0)
    )
    with pytest.raises(NotFinite, match="in pass 2; updates of earlier passes are kept"):
        state.iterate(PROMPTS, 1)
    learned = weights_of(once.actor)
    assert all(torch.equal(learned[name], w) for name, w in weights_of(actor).items())


def test_a_model_that_gives_no_numbers_is_not_the_learning_rates_fault(bases):
    actor = fresh(bases["llama"])
    state = ppo.PPO(actor, lengths, ARGS)
    batch = state.rollout(PROMPTS, 1)
    torch.nn.init.constant_(actor.model.hf.lm_head.weight, float("nan"))
    actor.engines.clear()
    state.score(batch)
    with pytest.raises(NotFinite, match="model itself") as raised:
        state.estimate(batch)
    assert raised.value.cause == "model"


def test_a_constant_reward_teaches_nothing_and_is_told(bases):
    """From the start there is no distance yet, so nothing at all may move but by the KL term, which is 0."""
    folder = bases["llama"]
    model = models.load(str(folder))
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model.adopt(get_peft_model(model.hf, config, adapter_name=POLICY), POLICY)
    actor = ActorCritic(model, dtype=torch.float32, workers=1)
    before = weights_of(actor)
    state, _ = iterate(actor, lambda prompts, responses: [0.7] * len(responses), steps=2, end_penalty=0.0)
    assert any("the same reward, 0.7" in text for text in state.notices)
    for name, weight in weights_of(actor).items():
        torch.testing.assert_close(weight, before[name], atol=1e-6, rtol=0)


def test_answers_without_an_end_and_answers_of_one_token_stay_finite(bases):
    actor = fresh(bases["llama"])
    for n in (1, 3):
        _, figures = iterate(actor, lambda prompts, responses: list(map(float, range(8))), max_new_tokens=n)
        numbers = [v for k, v in figures[0].items() if k != "explained_variance"]
        assert all(abs(v) < 1e6 for v in numbers)


def test_a_missing_end_costs_its_penalty(bases):
    actor = fresh(bases["llama"])
    state = ppo.PPO(actor, lengths, replace(ARGS, end_penalty=0.5, kl_coefficient=0.0, lam=1.0))
    batch = state.rollout(PROMPTS, 1)
    batch.ended = torch.tensor([1.0] * 4 + [0.0] * 4)
    state.score(batch)
    state.estimate(batch)
    expected = batch.scores - torch.tensor([0.0] * 4 + [0.5] * 4)
    for row, answer in enumerate(batch.rows.answers):
        assert float(batch.returns[row, len(answer) - 1]) == pytest.approx(float(expected[row]), abs=1e-5)
        assert float(batch.returns[row, 0]) == pytest.approx(float(expected[row]), abs=1e-4)  # gamma = lambda = 1


def test_equal_rewards_still_teach_to_end(bases):
    """The penalty makes them differ; only where what is left is alike is there nothing to learn."""
    actor = fresh(bases["llama"])
    state = ppo.PPO(actor, lambda prompts, responses: [0.7] * 8, replace(ARGS, end_penalty=0.5, kl_coefficient=0.0))
    batch = state.rollout(PROMPTS, 1)
    batch.ended = torch.tensor([1.0] * 4 + [0.0] * 4)
    state.score(batch)
    assert state.estimate(batch)["reward"] == pytest.approx(0.7)
    assert not state.notices
    last = [float(batch.returns[row, len(answer) - 1]) for row, answer in enumerate(batch.rows.answers)]
    assert last == pytest.approx([0.7] * 4 + [0.2] * 4, abs=1e-5)
    batch.ended = torch.zeros(8)
    state.estimate(batch)
    assert "the same reward, 0.2" in state.notices[0]


def test_the_adaptive_coefficient_follows_the_distance(bases):
    actor = fresh(bases["llama"])
    state, _ = iterate(actor, kl_target=1000.0, kl_coefficient=0.15)
    assert state.kl_coefficient == pytest.approx(0.15 * (1 - 0.2 * 8 / 10_000))
    fixed, _ = iterate(actor)
    assert fixed.kl_coefficient == ARGS.kl_coefficient


def test_a_batch_stops_being_learned_from_when_the_policy_has_moved_far(bases):
    actor = fresh(bases["llama"])
    _, figures = iterate(actor, learning_rate=0.3, stop_kl=0.01, epochs=4)
    assert figures[0]["epochs"] == 1 and figures[0]["approx_kl"] > 0.01


def test_the_learning_rate_rises_and_falls():
    a = replace(ARGS, steps=10, warmup=0.2, learning_rate=1.0)
    assert [round(ppo.learning_rate(a, s), 3) for s in (1, 2, 3, 10)] == [0.5, 1.0, 1.0, 0.125]
    assert ppo.learning_rate(replace(a, schedule="constant"), 10) == 1.0


# A run through the same doors as every other


@pytest.fixture
def place(tmp_path):
    settings, store = small_runs.workspace(tmp_path / "home")
    file = tmp_path / "mine.py"
    file.write_text("def reward(prompts, responses):\n    return [r.count('e') - 0.1 * len(r) for r in responses]\n")
    yield settings, store, {"reward": f"file:{file}", "batch_size": 8, "steps": 6, "micro_batch": 4}
    store.close()


def test_a_run_tells_all_and_leaves_an_adapter(place):
    settings, store, changes = place
    run = small_runs.done(settings, small_runs.launch(settings, store, "ppo", **changes))
    assert run.state == "done", run.log_tail()
    rows = small_runs.figures(run)
    figures = [row for row in rows if "reward" in row]
    assert [row["step"] for row in figures] == [1, 2, 3, 4, 5, 6]
    from workbench.learn.catalogue import METHODS

    keys = {s.key for c in METHODS["ppo"].curves if not c.sandbox for s in c.series}
    assert keys <= {key for row in rows for key in row}
    assert run.samples() and run.adapter is not None
    model = models.load(settings.model)
    assert model.attach(run.adapter) in model.adapters


def test_a_run_killed_and_resumed_equals_one_that_ran_through(place):
    settings, store, changes = place
    whole = small_runs.done(settings, small_runs.launch(settings, store, "ppo", **changes))
    cut = small_runs.launch(settings, store, "ppo", **changes, seed=0, held_out=99)
    small_runs.reached(settings, cut, 3)
    control.stop(settings, find_run(settings.workspace, cut.number))
    resumed = small_runs.done(settings, control.resume(settings, find_run(settings.workspace, cut.number)))
    assert resumed.state == "done", resumed.log_tail()

    def figures(run):
        times = ("seconds_", "limit_")
        return [{k: v for k, v in r.items() if not k.startswith(times)} for r in small_runs.figures(run)]

    assert figures(resumed) == figures(whole)
    weights = [(r.adapter / "adapter_model.safetensors").read_bytes() for r in (whole, resumed)]
    assert weights[0] == weights[1]
    assert not list(resumed.folder.rglob("*.pt")) and not list(resumed.folder.rglob("*.bin"))


def test_a_resume_samples_as_many_answers_at_once_as_before(place, monkeypatch):
    settings, store, changes = place
    sizes, plain = [], generate.generate
    monkeypatch.setattr(generate, "generate", lambda *a, **k: sizes.append(k.get("batch_size")) or plain(*a, **k))
    with small_runs.opened(settings, store, "ppo", **changes | {"steps": 2, "live_prompts": 0}) as work:
        monkeypatch.setattr(generate, "rows_that_fit", lambda *of: 3)
        ppo.train(work)
        assert next(size for size in sizes if size) == 3
        monkeypatch.setattr(generate, "rows_that_fit", lambda *of: 70)
        actor = ActorCritic(work.model, workers=1)
        state = ppo.PPO(actor, lengths, work.args)
        ppo.load_checkpoint(state, work.folder / "checkpoints" / "step-2")
        sizes.clear()
        state.rollout(PROMPTS, 3)
        longest = max(len(work.model.prompt_ids(p)) for p in PROMPTS) + work.args.max_new_tokens
    assert sizes == [state.rollout_tokens // longest]
    assert sizes[0] < 10


def test_ppo_without_a_reward_model_says_what_it_needs(place):
    settings, store, _ = place
    from workbench.learn.data import MissingData

    with pytest.raises(MissingData, match="reward model"):
        small_runs.launch(settings, store, "ppo")


# It learns


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gold_rises_by_an_eighth_on_prompts_never_trained_on(seed):
    """20 rounds of 64 answers, about 12 seconds on two idle cores."""
    from workbench.learn.rewards.sources import gold
    from workbench.measure.evaluate import evaluate
    from workbench.records import Sampling
    from workbench.sandbox import world

    a = PPOArgs(steps=20, micro_batch=64, learning_rate=1e-3, seed=seed, reward="gold")
    model = models.load("sandbox")
    torch.manual_seed(seed)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model.adopt(get_peft_model(model.hf, config, adapter_name=POLICY), POLICY)
    actor = ActorCritic(model, temperature=a.temperature)
    state = ppo.PPO(actor, gold, a)
    rows = [{"id": i, "prompt": p.text} for i, p in enumerate(world.sample(1500, "train", seed=seed))]
    held = [p.text for p in world.sample(200, "heldout", seed=0)]
    for step, prompts in enumerate(ppo.prompts_of(rows, a), 1):
        state.iterate(prompts, step)
    sampling = Sampling(temperature=0.8, max_new_tokens=64)
    before, after = evaluate(model, held, sampling), evaluate(model, held, sampling, adapter=POLICY)
    assert after.gold >= before.gold + 0.12


def one_of_two(rank, folder, base, port):
    """A process of the test below, as torchrun would start it."""
    import os

    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    from workbench.learn.engine.distributed import ProcessGroup

    actor = fresh(base)
    state = ppo.PPO(actor, lengths, ARGS, ProcessGroup())
    figures = [state.iterate(PROMPTS, step) for step in (1, 2)]
    torch.save([{k: v for k, v in t.items() if isinstance(v, float)} for t in figures], folder / f"figures-{rank}.pt")
    torch.save([w.detach() for w in actor.trainable.values()], folder / f"weights-{rank}.pt")

    # only the second runs out of memory, in its second pass over the batch
    tight = ppo.PPO(fresh(base), lengths, ARGS, state.group)
    tight.actor.workers = 1
    plain = ActorCritic.policy_and_value

    def limited(self, chunk):
        if rank == 1 and tight.optimizer.state and len(chunk.rows) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return plain(self, chunk)

    ActorCritic.policy_and_value = limited
    tight.iterate(PROMPTS, 1)
    ActorCritic.policy_and_value = plain
    weights = [w.detach().clone() for w in tight.actor.trainable.values()]

    # only the second differs from itself
    hidden = llama.Llama.hidden
    if rank == 1:
        llama.Llama.hidden = lambda self, ids, where=None: hidden(self, ids) * (1 + 1e-3 * torch.rand(()))
    error = ""
    try:
        ppo.PPO(fresh(base, rows_at_once=2), lengths, ARGS, state.group).iterate(PROMPTS, 1)
    except RuntimeError as raised:
        error = str(raised)
    torch.save((weights, tight.actor.rows_at_once, error), folder / f"faults-{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_learn_what_one_does(bases, tmp_path):
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    torch.multiprocessing.spawn(one_of_two, (tmp_path, bases["llama"], port), nprocs=2)
    state, figures = iterate(fresh(bases["llama"]), steps=2)
    weights = [torch.load(tmp_path / f"weights-{rank}.pt") for rank in (0, 1)]
    for a, b, alone in zip(*weights, state.actor.trainable.values(), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, alone.detach(), atol=2e-4, rtol=1e-3)
    together = torch.load(tmp_path / "figures-0.pt")
    for key in ("reward", "kl_train", "length", "value_loss", "entropy"):
        assert together[1][key] == pytest.approx(figures[1][key], rel=1e-3, abs=1e-4)
    assert together[0]["tokens"] == figures[0]["tokens"]

    (one, rows_one, error_one), (two, rows_two, error_two) = (
        torch.load(tmp_path / f"faults-{rank}.pt") for rank in (0, 1)
    )
    assert rows_one == rows_two == 2, "what a resume gives to all is what all have"
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert "differs from itself" in error_one and error_one == error_two


def test_a_run_shared_by_two_processes_is_one_run(place):
    from workbench import processes
    from workbench.learn.catalogue import parse

    settings, store, changes = place
    changes |= {"steps": 2, "epochs": 1}  # Adam turns last bits into steps: later passes part for good
    alone = small_runs.done(settings, small_runs.launch(settings, store, "ppo", **changes))
    shared = prepare.prepare_run(settings, store, "ppo", parse("ppo", small_runs.SMALL | changes | {"held_out": 99}))
    assert processes.torchrun(shared.folder, 2) == 0
    shared = find_run(settings.workspace, shared.number)
    assert shared.state == "done" and shared.adapter is not None
    one, two = ([r for r in small_runs.figures(run) if "reward" in r] for run in (alone, shared))
    assert [r["step"] for r in two] == [1, 2]
    # after an update the last bits, which depend on who sums what, may have changed a sampled token
    for key in ("reward", "length", "ended"):
        assert two[0][key] == pytest.approx(one[0][key], rel=1e-6)
    for key in ("entropy", "grad_norm"):
        assert two[0][key] == pytest.approx(one[0][key], rel=0.01)


@pytest.mark.parametrize(
    ("devices", "visible", "rank", "expected"),
    [(1, None, "0", None), (3, None, "1", "1"), (3, None, None, "0"), (2, "4,6", "1", "6"), (2, "4,6", "2", "4")],
)
def test_a_process_sees_one_gpu_of_several(monkeypatch, devices, visible, rank, expected):
    from workbench.learn.engine import distributed

    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    for name, value in (("CUDA_VISIBLE_DEVICES", visible), ("LOCAL_RANK", rank)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    distributed.one_gpu()
    assert distributed.os.environ.get("CUDA_VISIBLE_DEVICES") == expected


def test_fewer_processes_than_asked_for_is_an_error(monkeypatch):
    from workbench.learn.engine import distributed

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 1)
    with pytest.raises(RuntimeError, match="2 processes were requested, but 1 started"):
        distributed.ProcessGroup()

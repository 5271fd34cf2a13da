"""What only a GPU can show, where there is one: `CUDA_VISIBLE_DEVICES=0 python -m pytest tests/test_gpu.py`.

All other tests compute on the CPU, whose last bits they know.
"""

import threading
from math import isfinite

import pytest
import torch

from tests import small_runs, tiny_model
from workbench import models, processes
from workbench.jobs import prepare
from workbench.jobs.runs import find_run
from workbench.learn.catalogue import METHODS, parse
from workbench.learn.catalogue.ppo import PPOArgs
from workbench.learn.catalogue.settings import RewardedArgs
from workbench.learn.engine.actor_critic import POLICY, ActorCritic
from workbench.learn.engine.adapter import with_adapter
from workbench.learn.methods import ppo
from workbench.models import decoders, llama
from workbench.models.generate import generate
from workbench.records import Sampling

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no GPU, or CUDA_VISIBLE_DEVICES hides it"
)

PROMPTS = ["hello", "who are you?", "x", "name a bird that swims", "2 + 2", "why?", "a longer question than the others"]
GREEDY = Sampling(temperature=0, max_new_tokens=20)
WARM = Sampling(temperature=0.8, max_new_tokens=20, seed=3)
ENDS = [1, *range(10, 22)]  # a twentieth of the vocabulary, so that rows end at different steps


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    base = tiny_model.base(folder / "base", num_key_value_heads=2, head_dim=16)
    adapter = tiny_model.adapter(base, folder / "one", seed=1)
    loaded = models.load(str(base), device="cuda", dtype=torch.float32)
    loaded.attach(adapter)
    loaded.hf.generation_config.eos_token_id = ENDS
    return loaded


def sampled(model, sampling, adapter=None, **options):
    return [(a.tokens, a.ended) for a in generate(model, PROMPTS, sampling, [adapter] * len(PROMPTS), **options)]


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("adapter", [None, "one"])
def test_recorded_steps_say_what_steps_one_by_one_say(model, adapter, merged, monkeypatch):
    monkeypatch.setattr(decoders, "MERGE_BELOW", 10**9 if merged else 0)
    assert "recorded as a CUDA graph" in decoders.choose(model, [decoders.BASE], 4).reason
    recorded = sampled(model, GREEDY, adapter), sampled(model, WARM, adapter)
    monkeypatch.setattr(decoders, "records", lambda model: False)
    assert recorded == (sampled(model, GREEDY, adapter), sampled(model, WARM, adapter))
    monkeypatch.setattr(decoders, "why_not_llama", lambda model: "asked for by the test")
    assert recorded == (sampled(model, GREEDY, adapter), sampled(model, WARM, adapter))


def test_threads_that_record_at_once_get_their_own_answers(model):
    want = {name: sampled(model, WARM, name) for name in (None, "one")}
    got = {}
    threads = [threading.Thread(target=lambda n=n: got.update({n: sampled(model, WARM, n)})) for n in want]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == want


def test_the_bundled_model_says_in_bfloat16_what_it_says_in_steps(monkeypatch):
    bundled = models.load("sandbox")
    assert bundled.hf.dtype == torch.bfloat16 and bundled.device.type == "cuda"
    recorded = sampled(bundled, GREEDY)
    monkeypatch.setattr(decoders, "records", lambda model: False)
    alike = sum(a == b for a, b in zip(recorded, sampled(bundled, GREEDY), strict=True))
    assert alike >= len(PROMPTS) - 1  # two tokens can be equally likely up to rounding


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_round_of_ppo_starts_at_a_ratio_of_exactly_one(tmp_path, by_hand, dtype, monkeypatch):
    """(Otherwise `iterate` raises.)"""
    if not by_hand:
        monkeypatch.setattr(llama, "why_not", lambda hf: "asked for by the test")
    a = PPOArgs(steps=4, batch_size=8, micro_batch=4, max_new_tokens=10, learning_rate=3e-3, reward="gold")
    actor_model = models.load(str(tiny_model.base(tmp_path / "base")), device="cuda", dtype=dtype)
    actor_model.adopt(with_adapter(actor_model, a), POLICY)
    state = ppo.PPO(ActorCritic(actor_model, None, a.temperature, 4), lambda p, r: [float(len(x)) for x in r], a)
    for step in (1, 2):
        figures = state.iterate([f"What is {i}?" for i in range(8)], step)
    assert figures["ratio_off"] > 0 and all(isfinite(value) for value in figures.values())


@pytest.fixture
def place(tmp_path):
    settings, store = small_runs.workspace(tmp_path / "home")
    file = tmp_path / "mine.py"
    file.write_text("def reward(prompts, responses):\n    return [r.count('e') - 0.1 * len(r) for r in responses]\n")
    with store:
        yield settings, store, f"file:{file}"


@pytest.mark.parametrize("method", [name for name in METHODS if name != "prm"])
def test_every_method_ends_with_an_adapter(place, method):
    settings, store, reward = place
    changes = {"reward": reward, "batch_size": 8} if issubclass(METHODS[method].args, RewardedArgs) else {}
    run = small_runs.done(settings, small_runs.launch(settings, store, method, steps=3, **changes))
    assert run.state == "done", run.log_tail()
    assert run.result is not None and run.result["peak_mb"] > 0
    if METHODS[method].answers:
        assert run.adapter is not None and models.load(settings.model).attach(run.adapter)


def test_two_processes_share_one_gpu(place):
    settings, store, reward = place
    values = {"reward": reward, "batch_size": 8, "steps": 2, "epochs": 1, "micro_batch": 4}
    run = prepare.prepare_run(settings, store, "ppo", parse("ppo", small_runs.small("ppo") | values))
    assert processes.torchrun(run.folder, 2) == 0
    assert find_run(settings.workspace, run.number).state == "done"


def test_gold_rises_by_an_eighth_on_prompts_never_trained_on():
    from workbench.learn.rewards.sources import gold
    from workbench.measure.evaluate import evaluate
    from workbench.sandbox import world

    a = PPOArgs(steps=20, micro_batch=64, learning_rate=1e-3, reward="gold")
    bundled = models.load("sandbox")
    torch.manual_seed(0)
    bundled.adopt(with_adapter(bundled, a), POLICY)
    state = ppo.PPO(ActorCritic(bundled, temperature=a.temperature), gold, a)
    rows = [{"id": i, "prompt": p.text} for i, p in enumerate(world.sample(1500, "train", seed=0))]
    held = [p.text for p in world.sample(200, "heldout", seed=0)]
    for step, prompts in enumerate(ppo.prompts_of(rows, a), 1):
        state.iterate(prompts, step)
    sampling = Sampling(temperature=0.8, max_new_tokens=64)
    assert evaluate(bundled, held, sampling, adapter=POLICY).gold >= evaluate(bundled, held, sampling).gold + 0.12

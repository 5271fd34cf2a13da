"""Where things are: arguments before environment before defaults, and what is known of a model without loading it."""

import json
import struct
import subprocess
import sys

import pytest

from workbench import settings
from workbench.intervals import wilson


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("WORKBENCH_HOME", "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def test_arguments_win_over_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "env"))
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7999")
    assert settings.load().workspace == tmp_path / "env"
    assert settings.load().port == 7999
    assert settings.load(tmp_path / "arg", port=8001).workspace == tmp_path / "arg"
    assert settings.load(tmp_path / "arg", port=8001).port == 8001


def test_loading_creates_nothing(tmp_path):
    settings.load(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("port", ["zero", "0", "70000"])
def test_a_wrong_port_is_named(port):
    with pytest.raises(ValueError, match="--port"):
        settings.load("x", port=port)


def test_threads_follow_the_variable(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert settings.threads().value == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= settings.threads().value <= 16


def write_safetensors(file, shapes):
    header = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text)


def test_parameters_are_counted_from_the_headers(tmp_path):
    write_safetensors(tmp_path / "model-00001.safetensors", {"a": [3, 4], "b": [5]})
    write_safetensors(tmp_path / "model-00002.safetensors", {"c": [2, 2, 2]})
    assert settings.parameters(str(tmp_path)) == 12 + 5 + 8
    assert "25" in settings.describe(settings.load(tmp_path, model=str(tmp_path)))


def test_a_missing_folder_is_named():
    with pytest.raises(FileNotFoundError, match="/no/such/model"):
        settings.model_path("/no/such/model")


def test_a_hub_name_stays_a_name():
    assert settings.model_path("gpt2") == "gpt2"
    assert settings.model_path("org/name") == "org/name"


@pytest.mark.parametrize("n, text", [(1_570_000, "1.6M"), (7_000_000_000, "7.0B"), (12, "12"), (1500, "1.5k")])
def test_short_counts(n, text):
    assert settings.short_count(n) == text


def test_importing_jobs_and_args_imports_no_torch():
    code = (
        "import sys, workbench.settings, workbench.jobs.control, workbench.learn.catalogue, workbench.cli.main;"
        "print([m for m in ('torch', 'transformers', 'trl', 'gradio', 'datasets') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(("card", "real", "format"), [("T4", False, "float16"), ("A100", True, "bfloat16")])
def test_a_card_that_only_imitates_bfloat16_computes_in_float16(monkeypatch, card, real, format):
    """As torch answers on a T4 or V100: bfloat16 "is supported", by emulation."""
    import torch

    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: True if including_emulation else real
    )
    assert settings.dtype("cuda").value == getattr(torch, format)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({"hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 12, "vocab_size": 9}, (8, 2, 12, 9)),
        ({"n_embd": 8, "n_layer": 2, "n_inner": None, "vocab_size": 9}, (8, 2, 32, 9)),  # GPT-2
        ({"hidden_size": 8, "num_layers": 2, "vocab_size": 9}, (8, 2, 32, 9)),  # GPT-Neo
        ({"d_model": 8, "n_layers": 2, "vocab_size": 9}, (8, 2, 32, 9)),  # MPT
        ({"hidden_size": 8, "num_hidden_layers": 2, "ffn_dim": 20, "vocab_size": 9}, (8, 2, 20, 9)),  # OPT
    ],
)
def test_sizes_are_read_by_every_name_they_go_by(tmp_path, config, shape):
    for content in (config, {"text_config": config, "vision_config": {"hidden_size": 99}}):
        (tmp_path / "config.json").write_text(json.dumps(content))
        assert settings.model_shape(str(tmp_path)) == settings.Shape(*shape)
    (tmp_path / "config.json").write_text("{}")
    assert settings.model_shape(str(tmp_path)) is None


def test_wilson_by_hand():
    # Wilson (1927) for 8 of 10 at 95 %: middle (0.8 + 1.92073/10) / 1.384146 = 0.71674, half width 0.22661
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError):
        wilson(3, 2)


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("OMP_WAIT_POLICY", "PASSIVE", "ACTIVE"),
        ("LRU_CACHE_CAPACITY", "128", "1024"),
        ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128", "1024"),
    ],
)
def test_what_torch_reads_once_is_set_before_it_comes_unless_somebody_did(monkeypatch, name, ours, theirs):
    line = f"import sys, workbench, os; assert 'torch' not in sys.modules; print(os.environ['{name}'])"
    for variable, expected in ((None, ours), (theirs, theirs)):
        monkeypatch.delenv(name, raising=False)
        if variable:
            monkeypatch.setenv(name, variable)
        assert subprocess.run([sys.executable, "-c", line], capture_output=True, text=True).stdout.strip() == expected

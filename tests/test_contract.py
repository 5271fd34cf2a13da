"""The parts of TRL, transformers, PEFT, Gradio and PyTorch that we override or use though they are not public.

An upgrade that moves one fails here with its name, before anything trains wrongly. The last two tests look for what
the tables leave out.
"""

import ast
import importlib
import inspect
import pkgutil
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import gradio
import peft
import pytest
import torch
import transformers
import trl
from peft.tuners.lora import LoraLayer

import workbench

SAMPLERS = (trl.RLOOTrainer, trl.GRPOTrainer)
ON_ROWS = (trl.DPOTrainer, trl.KTOTrainer, trl.RewardTrainer)
ALL = (trl.SFTTrainer, *ON_ROWS, *SAMPLERS)

# Methods we override: (method, classes, parameters as our override takes them). Each must exist and be called.
OVERRIDDEN = [
    ("training_step", ALL, None),  # ours passes on whatever comes
    ("_clip_grad_norm", ALL, ["model"]),
    ("_save_checkpoint", ALL, ["model", "trial"]),
    ("_load_from_checkpoint", ALL, ["resume_from_checkpoint", "model"]),
    ("_load_optimizer_and_scheduler", ALL, ["checkpoint"]),
    ("_load_rng_state", ALL, ["checkpoint"]),
    ("_prepare_dataset", ON_ROWS, None),
    ("compute_loss", (trl.DPOTrainer, trl.RewardTrainer), ["model", "inputs", "return_outputs", "num_items_in_batch"]),
    ("_set_signature_columns_if_needed", (trl.RewardTrainer,), []),
    ("get_batch_samples", (trl.KTOTrainer, trl.DPOTrainer), None),
    ("_compute_kl_logps", (trl.KTOTrainer,), ["model", "batch"]),
    ("_tokenize_prompts", SAMPLERS, ["prompts"]),
    ("_generate_single_turn", SAMPLERS, None),
    ("get_config_file", (gradio.Blocks,), []),
]
# What these calls take and give, as written where TRL or transformers makes them.
CALLS = [
    (trl.RLOOTrainer, "prompt_ids, images, multimodal_fields = self._tokenize_prompts(prompts)"),
    (trl.GRPOTrainer, "prompt_ids, images, multimodal_fields = self._tokenize_prompts(prompts)"),
    (trl.RLOOTrainer, "completion_ids = self._generate_single_turn(prompt_ids, images, multimodal_fields)"),
    (trl.GRPOTrainer, "completion_ids, logprobs = self._generate_single_turn("),
    (transformers.Trainer, "grad_norm = self._clip_grad_norm(model)"),
    (transformers.Trainer, "self._load_optimizer_and_scheduler(resume_from_checkpoint)"),
    (transformers.Trainer, "self._load_rng_state(resume_from_checkpoint)"),
]
# Attributes and names inside their methods that we set, read or count on.
MENTIONED = [
    (trl.DPOTrainer, 'self._metrics[mode]["rewards/accuracies"]'),
    (trl.DPOTrainer, 'add_adapter("ref"'),  # learn drops its own copy of that name before TRL makes one
    (trl.KTOTrainer, 'add_adapter("ref"'),
    (trl.RLOOTrainer, 'add_adapter("ref"'),
    (trl.GRPOTrainer, 'add_adapter("ref"'),
    (trl.RLOOTrainer, "self._metrics[mode]"),
    (trl.GRPOTrainer, "self._metrics[mode]"),
    (transformers.Trainer, "self._signature_columns"),
    (LoraLayer, 'if name != "__base__"'),  # the name under which rows of a batch ask for the base
]
# Private names on objects that are not ours: name -> who has it.
PRIVATE = {
    "_attn_implementation": transformers.LlamaConfig(),
    "_modules": torch.nn.Module(),
    "_prepare_inputs": transformers.Trainer,
    "_is_avx512_bf16_supported": torch.cpu,
    "_is_amx_tile_supported": torch.cpu,
}
CALLBACKS = ("on_train_begin", "on_pre_optimizer_step", "on_log")
FOREIGN = ("trl", "transformers", "peft", "gradio", "torch", "accelerate", "datasets")


@cache
def source(owner: type) -> str:
    """The text of a class and of those it inherits from, theirs alone, on lines of single spaces."""
    bases = [base for base in owner.__mro__ if base.__module__.partition(".")[0] in FOREIGN]
    return re.sub(r"\s+", " ", " ".join(inspect.getsource(base) for base in bases))


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [(owner, name, parameters) for name, owners, parameters in OVERRIDDEN for owner in owners],
    ids=lambda value: getattr(value, "__name__", value if isinstance(value, str) else ""),
)
def test_a_method_that_we_override_is_there_and_is_called(owner: type, name: str, parameters: list[str] | None):
    theirs = getattr(owner, name, None)
    assert theirs is not None, f"{owner.__name__}.{name} is gone"
    assert f"self.{name}(" in source(owner), f"nothing calls {owner.__name__}.{name} any more"
    if parameters is not None and "args" not in inspect.signature(theirs).parameters:
        assert list(inspect.signature(theirs).parameters)[1:] == parameters, f"{owner.__name__}.{name} takes others"


@pytest.mark.parametrize(("owner", "text"), CALLS, ids=lambda value: getattr(value, "__name__", value))
def test_a_call_of_a_method_that_we_override_takes_and_gives_the_same(owner: type, text: str):
    assert text in source(owner), f"{owner.__name__} has no `{text}`"


@pytest.mark.parametrize(("owner", "text"), MENTIONED, ids=lambda value: getattr(value, "__name__", value))
def test_a_name_that_we_count_on_stands_in_their_code(owner: type, text: str):
    assert text in source(owner), f"{owner.__name__} has no `{text}`"


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_name_that_we_read_is_there(name: str):
    assert hasattr(PRIVATE[name], name), f"{name} is gone"


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_that_we_override_takes_the_same(name: str):
    theirs = list(inspect.signature(getattr(transformers.TrainerCallback, name)).parameters)
    assert theirs == ["self", "args", "state", "control", "kwargs"]
    assert f"self.callback_handler.{name}(" in source(transformers.Trainer)


def test_lora_layers_have_the_parts_that_our_own_forward_reads():
    small = transformers.LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    model = peft.get_peft_model(transformers.LlamaForCausalLM(small), peft.LoraConfig(r=2))
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    assert layers
    for layer in layers:
        for part in ("lora_A", "lora_B", "base_layer", "scaling"):
            assert hasattr(layer, part), f"a LoRA layer has no {part}"
        assert isinstance(layer.scaling, dict), "the scaling of a LoRA layer is no dict by adapter"


def test_gradio_takes_what_the_page_gives_it():
    from workbench.ui import shell

    html = inspect.signature(gradio.HTML.__init__).parameters
    for name in ("server_functions", "js_on_load", "html_template"):
        assert name in html, f"gr.HTML takes no {name}"
    launch = inspect.signature(gradio.Blocks.launch).parameters
    used = {*shell.launch_options(), "server_name", "server_port", "share", "auth", "app_kwargs", "prevent_thread_lock"}
    assert used <= launch.keys(), f"Blocks.launch takes no {used - launch.keys()}"


def modules() -> list[ModuleType]:
    names = [module.name for module in pkgutil.walk_packages(workbench.__path__, "workbench.")]
    return [importlib.import_module(name) for name in names if not name.startswith("workbench.migrations")]


def test_every_method_that_overrides_one_of_theirs_is_in_the_tables():
    classes = {value for module in modules() for value in vars(module).values() if inspect.isclass(value)}
    listed = {name for name, _, _ in OVERRIDDEN} | set(CALLBACKS) | {"__init__", "forward", "backward", "_backward_cls"}
    missing = set()
    for kind in classes:
        ours = [base for base in kind.__mro__ if base.__module__.partition(".")[0] == "workbench"]
        theirs = [base for base in kind.__mro__ if base.__module__.partition(".")[0] in FOREIGN]
        for base in ours if kind in ours else ():
            for name in vars(base):
                made_by = (
                    getattr(vars(base)[name], "__module__", None) or "workbench"
                )  # gradio adds `load` to each Blocks
                if made_by.partition(".")[0] in FOREIGN or re.fullmatch(r"__\w+__", name):
                    continue
                if any(name in vars(other) for other in theirs):
                    missing |= {f"{kind.__module__}.{kind.__name__}.{name}"} if name not in listed else set()
    assert not missing


def test_every_private_name_of_theirs_that_we_use_is_in_the_tables():
    own: set[str] = set()
    used: dict[str, Path] = {}
    for path in sorted(Path(workbench.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                own.add(node.target.id)
            elif isinstance(node, ast.Assign):
                targets = [part for target in node.targets for part in ast.walk(target)]
                own |= {part.attr for part in targets if isinstance(part, ast.Attribute)}
                own |= {part.id for part in targets if isinstance(part, ast.Name)}
            elif isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr) and ast.unparse(node.value) != "os":
                used[node.attr] = path
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
                own.add(node.target.attr)
    listed = {name for name, _, _ in OVERRIDDEN} | PRIVATE.keys() | {"_metrics"}
    missing = {name: path.name for name, path in used.items() if name not in own | listed}
    assert not missing

"""A dry run before the run: what would end the job is said before it is queued, or as its very first act.

`check` needs the model's config and tokenizer alone. `one_row` needs the model, and is what the job does first.
Imports no torch by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench import settings
from workbench.learn.catalogue import SettingError
from workbench.models import chat, checkpoint, tokens
from workbench.models.errors import ModelError

if TYPE_CHECKING:
    from workbench.learn.catalogue import TrainArgs
    from workbench.learn.examples import Example
    from workbench.models import Model

UNSEEN = {"prompt", "id", "split", "rater", "source"}  # of a row: what is no answer


def check(model: str, rows: Sequence[dict[str, Any]], args: TrainArgs, trust_remote_code: bool = False) -> None:
    """Raise ModelError, or ValueError naming the setting, for a run of `model` on these rows that could only fail.

    Not for the bundled model, whose files are known; they would take seconds to read in a fresh process.
    """
    if model == "sandbox":
        return
    from workbench import models

    folder = settings.model_folder(model)
    if folder is not None:
        checkpoint.check_folder(folder, model)
    config = models.config(model, trust_remote_code)
    checkpoint.check_architecture(config, model)
    check_tokens(models.tokenizer(model, trust_remote_code), config, model, rows)
    new_tokens, positions = getattr(args, "max_new_tokens", 0), positions_of(config)
    if positions and new_tokens >= positions:
        why = f"{model} reads {positions:,} tokens, prompt and answer together; set fewer"
        raise SettingError("max_new_tokens", new_tokens, why)


def positions_of(config: Any) -> int | None:
    """The most tokens that the model has positions for; None when there is no such number."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def check_tokens(tokenizer: Any, config: Any, model: str, rows: Sequence[dict[str, Any]]) -> None:
    """Raise ModelError for a tokenizer without an end token, or that makes ids that the model has no embedding for."""
    if chat.framing(tokenizer).end is None:
        raise ModelError(
            f"{model}: neither its chat template nor its tokenizer names an end token, so no answer could ever end. Set "
            "eos_token in tokenizer_config.json."
        )
    embeddings = config.get_text_config().vocab_size
    surplus = {i: token for token, i in tokenizer.get_vocab().items() if i >= embeddings}
    if not surplus:
        return
    used = {chat.end_id(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id} - {None}
    used.update(tokens.prompt_ids(tokenizer, ""))
    for row in rows:
        used.update(*tokenizer(texts_of(row), add_special_tokens=False)["input_ids"])
    if wrong := sorted(i for i in used if i in surplus):
        raise ModelError(
            f"{model}: its tokenizer and its weights do not match: the token {surplus[wrong[0]]!r} has the "
            f"number {wrong[0]}, and the weights have embeddings for 0 to {embeddings - 1}."
        )


def texts_of(row: dict[str, Any]) -> list[str]:
    """Everything in a row that the model reads: the prompt, then what follows it."""
    values = [value for name, value in row.items() if name not in UNSEEN]
    flat = [each for value in values for each in (value if isinstance(value, list) else [value])]
    return [row["prompt"], *(each for each in flat if isinstance(each, str))]


def one_row(model: Model, peft: Any, examples: Sequence[Example]) -> None:
    """One forward and backward of the longest row; weights, gradients and randomness stay.

    Raises ModelError for a model that cannot be trained, or whose numbers are not finite, and MemoryError when not
    even one row fits.
    """
    import torch
    import torch.nn.functional as F

    rows = ([*one.prompt, *max(one.answers.values(), key=len, default=[])] for one in examples)
    batch = torch.tensor([max(rows, key=len)], device=model.device)
    trained = [weight for weight in peft.parameters() if weight.requires_grad]
    devices = [model.device] if model.device.type == "cuda" else []
    try:
        with model.lock, torch.random.fork_rng(devices=devices):
            logits = peft(input_ids=batch, use_cache=False).logits[0].float()
            torch.autograd.backward(F.cross_entropy(logits[:-1], batch[0, 1:]))
        finite = bool(torch.isfinite(logits).all())
        learns = any(weight.grad is not None and bool(weight.grad.any()) for weight in trained)
    except Exception as error:  # a model's own code may raise anything
        raise checkpoint.explain(model.name, error, "could not be trained on one row") from error
    finally:
        peft.zero_grad(set_to_none=True)
    if not finite:
        raise ModelError(
            f"{model.name} gives no valid numbers (NaN or infinite) before any training: its weights are damaged, or "
            f"too large for {str(model.hf.dtype).removeprefix('torch.')}. No setting of the run can fix this."
        )
    if not learns:
        raise ModelError(f"{model.name}: no gradient reaches the adapter, so nothing would be learned.")

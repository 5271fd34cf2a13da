"""Batched sampling and scoring; used by ranking, training and comparing alike.

`generate` reads top to bottom: rows into batches, a batch into tokens, a token out of logits. How logits come about is
in decoders.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np
import torch
from torch import Tensor

from workbench.models import AdapterChoice, Model, ModelError
from workbench.models.decoders import BASE, choose, forward, together
from workbench.records import Sampling

STREAM_EVERY = 0.05  # seconds between two texts of a row: the eye needs no more, and decoding them costs
MOST_ROWS = 256
WITHOUT_FLOAT64 = ("mps",)
LOGITS = 100_000_000  # numbers held at once when scoring


@dataclass(frozen=True)
class Generated:
    """One answer. `tokens` are the ids as sampled, the end token included if the row `ended` by itself.

    `logprobs` are the tokens' log-probabilities in nats at the sampling temperature (at 1 if greedy), before top-p
    cuts the distribution.
    """

    text: str
    tokens: list[int]
    ended: bool
    logprobs: list[float]

    @property
    def logprob(self) -> float:
        """Log-probability of the whole answer, in nats."""
        return sum(self.logprobs)


def generate(
    model: Model,
    prompts: Sequence[str],
    sampling: Sampling,
    adapters: Sequence[str | None] | None = None,
    strength: float | Sequence[float] = 1.0,
    on_text: Callable[[int, str], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    seeds: Sequence[int] | None = None,
    background: bool = False,
    batch_size: int | None = None,
    on_halved: Callable[[int], object] | None = None,
) -> list[Generated]:
    """Answer every prompt; row i speaks with adapters[i] (None = base) at its strength (0 base, 1 as trained).

    A row draws from random numbers of its own, made from its seed (seeds[i], else sampling.seed) and its prompt: its
    answer is the same alone and in any batch (up to rounding in the last bits of float32), and an adapter at strength
    0 answers exactly as the base does. `on_text(row, text so far)` streams. After `should_stop()` the rows end where
    they are, `ended` False. `background` rests while somebody waits for a foreground generation.

    Out of memory halves the batch that runs at once (`batch_size` at most), not the rows asked for, and tells
    `on_halved` of the new size. Raises ValueError for rows that do not match, ModelError for a prompt too long for the model, MemoryError if one row alone is too big.
    """
    choices = _adapter_choices(model, len(prompts), adapters, strength)
    seeds = [sampling.seed] * len(prompts) if seeds is None else seeds
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts, but {len(seeds)} seeds")
    ids_of = {prompt: model.prompt_ids(prompt) for prompt in set(prompts)}  # a group of answers shares its prompt
    ids = [ids_of[prompt] for prompt in prompts]
    _check_lengths(model, ids, sampling)
    noise = [uniforms(seed, prompt, sampling.max_new_tokens) for seed, prompt in zip(seeds, prompts, strict=True)]
    done: list[Generated | None] = [None] * len(prompts)
    at_once = batch_size or rows_that_fit(model, max(map(len, ids), default=0) + sampling.max_new_tokens)
    waiting = _batches(model, ids, choices, at_once)
    with model.lock.generation(background):
        while waiting:
            rows = waiting.pop(0)
            batch = _Batch(model, sampling, [ids[i] for i in rows], [choices[i] for i in rows])
            stream = (lambda i, text, rows=rows: on_text(rows[i], text)) if on_text else None
            try:
                answers = batch.run(np.stack([noise[i] for i in rows]), stream, should_stop, background)
            except (RuntimeError, MemoryError) as error:
                waiting = halved(error, [rows, *waiting], model.device, "ask for fewer new tokens")
                if on_halved:
                    on_halved(len(waiting[0]))
                continue
            for i, answer in zip(rows, answers, strict=True):
                done[i] = answer
    return [answer for answer in done if answer is not None]


def sample_seeds(seed: int, n: int) -> list[int]:
    """Seeds of n answers to one prompt; the first of them are those of fewer answers."""
    return [seed * 1_000_003 + k for k in range(n)]


def halved(error: Exception, batches: list[list[int]], device: torch.device, advice: str) -> list[list[int]]:
    """The batches cut to half the size of the first, which did not fit into memory.

    Raises the error again when it is another one, and MemoryError with the advice when the first is one row already.
    """
    if not out_of_memory(error):
        raise error
    if len(batches[0]) == 1:
        raise MemoryError(f"not even one answer fits into memory: {advice}") from error
    if device.type == "cuda":
        torch.cuda.empty_cache()
    half = (len(batches[0]) + 1) // 2
    return [batch[k : k + half] for batch in batches for k in range(0, len(batch), half)]


def uniforms(seed: int, prompt: str, n: int) -> np.ndarray:
    """n numbers in [0, 1) for one row: the same for the same seed and prompt, independent between prompts."""
    key = hashlib.blake2b(f"{seed}\0{prompt}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(key, "little")).random(n)


def pick(logits: Tensor, noise: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """A token for every row, and its log-probability: logits [rows, V], noise [rows] in [0, 1) -> [rows], [rows].

    The noise is float64 and lies where that can be summed, see `exact`.

    Sampling is by the inverse of the cumulative distribution in the order of token ids: one number per row decides,
    which `multinomial` would not promise. Temperature 0 takes the most likely token.
    """
    logits = logits.float()
    if temperature == 0:
        token = argmax(logits)
        return token, logits.log_softmax(-1).gather(1, token[:, None])[:, 0]
    probs = (logits / temperature).softmax(-1)
    weights = (nucleus(probs, top_p) if top_p < 1 else probs).to(noise.device)
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    # right=True steps over tokens of probability 0; scaling by the last sum makes `weights` a distribution again
    token = torch.searchsorted(cumulative, noise[:, None] * cumulative[:, -1:], right=True)
    token = token.clamp(max=logits.shape[-1] - 1).to(logits.device)
    return token[:, 0], probs.gather(1, token)[:, 0].log()


def exact(device: torch.device) -> torch.device:
    """Where to sum probabilities in float64: there, or on the CPU beside an Apple GPU, which has no float64."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def argmax(logits: Tensor) -> Tensor:
    """The place of each row's largest number: [rows, V] -> [rows]. On a CPU numpy finds it in a tenth of torch's time."""
    if logits.device.type == "cpu":
        return torch.from_numpy(logits.numpy().argmax(-1))
    return logits.argmax(-1)


def nucleus(probs: Tensor, top_p: float) -> Tensor:
    """probs [rows, V] with everything outside the smallest set that holds `top_p` set to 0. Holtzman et al. 2020."""
    ordered, order = probs.sort(dim=-1, descending=True, stable=True)
    outside = ordered.cumsum(-1) - ordered >= top_p
    return torch.zeros_like(probs).scatter(1, order, ordered.masked_fill(outside, 0.0))


def logprobs(
    model: Model,
    prompts: Sequence[str] | Sequence[Sequence[int]],
    answers: Sequence[str] | Sequence[Sequence[int]],
    adapter: str | None = None,
    strength: float = 1.0,
    temperature: float = 1.0,
    batch_size: int | None = None,
    on_batch: Callable[[], object] | None = None,
) -> list[list[float]]:
    """Log-probabilities, in nats, of every token of given answers under one model; one list per answer.

    A prompt given as text is framed by the chat template, an answer given as text is closed with the end token; what is
    given as token ids is taken as it is. `on_batch()` is called after every batch. At most `batch_size` run at once,
    fewer where their logits would fill the memory; out of memory halves that. Raises MemoryError if one row alone is
    too big.
    """
    if len(prompts) != len(answers):
        raise ValueError(f"{len(prompts)} prompts, but {len(answers)} answers")
    choice = _adapter_choices(model, 1, [adapter], strength)[0]
    starts = [model.prompt_ids(prompt) if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    ends = [model.answer_ids(answer) if isinstance(answer, str) else list(answer) for answer in answers]
    result: list[list[float]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(starts[i]) + len(ends[i]))
    longest = max((len(a) + len(b) for a, b in zip(starts, ends, strict=True)), default=1)
    # the logits of every place are there at once: with a vocabulary of 100,000 they are what fills the memory
    fit = max(1, LOGITS // (longest * model.hf.config.get_text_config().vocab_size))
    at_once = min(batch_size or 32, fit)
    waiting = [order[k : k + at_once] for k in range(0, len(order), at_once)]
    while waiting:
        rows = waiting.pop(0)
        try:
            batch_values = _score(model, [starts[i] for i in rows], [ends[i] for i in rows], choice, temperature)
        except (RuntimeError, MemoryError) as error:
            waiting = halved(error, [rows, *waiting], model.device, "set a smaller max_tokens")
            continue
        for i, values in zip(rows, batch_values, strict=True):
            result[i] = values
        if on_batch:
            on_batch()
    return result


@torch.inference_mode()
def _score(
    model: Model, starts: list[list[int]], ends: list[list[int]], choice: AdapterChoice, temperature: float
) -> list[list[float]]:
    rows = [torch.tensor(a + b) for a, b in zip(starts, ends, strict=True)]
    # padding on the right: what comes after cannot change what came before, and positions count from 0 as they should
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(model.device)
    with model.lock:
        logits = forward(model, [choice] * len(rows), input_ids=ids, use_cache=False).logits
    result = []
    piece = max(1, LOGITS // 8 // logits.shape[-1])  # tokens whose logits are there in float32 at once
    for i, (a, b) in enumerate(zip(starts, ends, strict=True)):
        place = logits[i, len(a) - 1 : len(a) + len(b) - 1]  # the logits that foresaw the answer
        targets = torch.tensor(b, device=model.device)[:, None]
        pieces = zip(torch.split(place, piece), torch.split(targets, piece), strict=True)
        values = [
            (s.gather(1, w)[:, 0] - s.logsumexp(-1)) for s, w in ((s.float() / temperature, w) for s, w in pieces)
        ]
        result.append(torch.cat(values).tolist())
    return result


def _adapter_choices(
    model: Model, n: int, adapters: Sequence[str | None] | None, strength: float | Sequence[float]
) -> list[AdapterChoice]:
    names = [None] * n if adapters is None else list(adapters)
    strengths = [float(strength)] * n if isinstance(strength, int | float) else [float(s) for s in strength]
    if len(names) != n or len(strengths) != n:
        raise ValueError(f"{n} prompts, but {len(names)} adapters and {len(strengths)} strengths")
    missing = sorted({name for name in names if name is not None} - set(model.adapters))
    if missing:
        raise ValueError(
            f"no adapter {', '.join(missing)} is attached; attached: {', '.join(model.adapters) or 'none'}"
        )
    return [(name, s) if name is not None and s != 0 else BASE for name, s in zip(names, strengths, strict=True)]


def _check_lengths(model: Model, ids: list[list[int]], sampling: Sampling) -> None:
    if sampling.max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {sampling.max_new_tokens}")
    if sampling.temperature < 0 or not 0 < sampling.top_p <= 1:
        raise ValueError(f"temperature must be at least 0 and top_p in (0, 1], got {sampling}")
    longest = max(map(len, ids), default=0)
    if longest + sampling.max_new_tokens > model.context:
        raise ModelError(
            f"a prompt of {longest} tokens and {sampling.max_new_tokens} new ones do not fit into the {model.context} "
            f"tokens of {model.name}: shorten the prompt or ask for fewer new tokens"
        )


def _batches(model: Model, ids: list[list[int]], choices: list[AdapterChoice], at_once: int) -> list[list[int]]:
    """Rows that run together: neighbours in adapter, then in length, so that little is padding."""
    order = sorted(range(len(ids)), key=lambda i: (choices[i][0] or "", choices[i][1], len(ids[i])))
    batches: list[list[int]] = []
    fit = together(model) if len(set(choices)) > 1 else None  # rows of one adapter always fit
    for i in order:
        full = not batches or len(batches[-1]) == at_once
        if full or (fit and not fit([choices[k] for k in [*batches[-1], i]])):
            batches.append([])
        batches[-1].append(i)
    return batches


def survivors(over: Sequence[bool], in_order: bool) -> list[int]:
    """Places of the rows that go on. Unless they must stay in order, the last ones fill the gaps: few have to move."""
    alive = [k for k, end in enumerate(over) if not end]
    if in_order:
        return alive
    tail = [k for k in alive if k >= len(alive)]
    return [tail.pop() if over[k] else k for k in range(len(alive))]


def rows_that_fit(model: Model, length: int) -> int:
    """How many rows of `length` tokens to run at once: their caches and logits take at most half of the free memory."""
    config = model.hf.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache: int = 2 * config.num_hidden_layers * heads * width * length * model.hf.dtype.itemsize
    logits: int = 16 * config.vocab_size  # float32 logits and probabilities, float64 sums
    return max(1, min(MOST_ROWS, free_memory(model.device) // 2 // (cache + logits)))


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    free: int = psutil.virtual_memory().available
    return free


def out_of_memory(error: BaseException) -> bool:
    messages = (
        "can't allocate memory",
        "MPS backend out of memory",
    )  # of a CPU and of an Apple GPU: plain RuntimeErrors
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in messages)


class _Batch:
    """Rows that grow together, one token each per step, until each has ended."""

    def __init__(self, model: Model, sampling: Sampling, ids: list[list[int]], choices: list[AdapterChoice]) -> None:
        self.model, self.sampling, self.choices = model, sampling, choices
        longest = max(map(len, ids))
        self.ids = torch.tensor([[0] * (longest - len(row)) + row for row in ids])
        self.mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])
        self.tokens: list[list[int]] = [[] for _ in ids]
        self.logprobs: list[list[float]] = [[] for _ in ids]
        self.ended = [False] * len(ids)

    @torch.inference_mode()
    def run(
        self,
        noise: np.ndarray,
        on_text: Callable[[int, str], None] | None,
        should_stop: Callable[[], bool] | None,
        background: bool,
    ) -> list[Generated]:
        last_text = monotonic()
        for live, last in self._steps(noise, background):
            if on_text and (last or monotonic() - last_text > STREAM_EVERY):
                last_text = monotonic()
                for row in live:
                    on_text(row, self._text(row).rstrip("\ufffd"))  # half of a character is not text yet
            if should_stop and should_stop():
                break
        return [
            Generated(self._text(row), tokens, self.ended[row], self.logprobs[row])
            for row, tokens in enumerate(self.tokens)
        ]

    def _steps(self, noise: np.ndarray, background: bool) -> Iterator[tuple[list[int], bool]]:
        """Yield after each token the rows that got one, and whether it is the last of some of them."""
        device, sampling, lock = self.model.device, self.sampling, self.model.lock
        draws = torch.from_numpy(noise).to(exact(device))
        ends = set(self.model.end_ids)
        live = list(range(len(self.tokens)))
        with lock.turn(background):
            decoder = choose(self.model, self.choices, self.ids.shape[1] + sampling.max_new_tokens)
            logits = decoder.start(self.ids.to(device), self.mask.to(device))
        for t in range(sampling.max_new_tokens):
            token, logprob = pick(logits, draws[:, t], sampling.temperature, sampling.top_p)
            sampled = token.tolist()
            endings = [one in ends for one in sampled]
            for row, one, value, end in zip(live, sampled, logprob.tolist(), endings, strict=True):
                self.tokens[row].append(one)
                self.logprobs[row].append(value)
                self.ended[row] = end
            full = t + 1 == sampling.max_new_tokens
            yield live, any(endings) or full
            if all(endings) or full:
                return
            if any(endings):
                stay = survivors(endings, in_order=len(set(self.choices)) > 1)
                live, index = [live[k] for k in stay], torch.tensor(stay, device=device)
                token, draws = token[index], draws[index.to(draws.device)]
            with lock.turn(background):
                if any(endings):
                    decoder.keep(index)
                logits = decoder.step(token)

    def _text(self, row: int) -> str:
        tokens = self.tokens[row][: len(self.tokens[row]) - self.ended[row]]
        text: str = self.model.tokenizer.decode(tokens, skip_special_tokens=True)
        return text.replace("\0", "\ufffd")  # a model may say NUL, a database cannot keep it

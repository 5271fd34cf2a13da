"""The sandbox model's tokenizer: byte-level BPE with single digits, and a chat template that keeps prefixes.

The rendering is <|user|>question<|assistant|>answer<|end|>, repeated for more turns. A prompt with the generation prompt is
a prefix of the same prompt with its answer, which TRL's prompt/completion rows need. The end token is not the pad token.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

SPECIAL = {"pad": "<|pad|>", "end": "<|end|>", "user": "<|user|>", "assistant": "<|assistant|>"}
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}<|user|>{{ message['content'] | trim }}"
    "{%- elif message['role'] == 'assistant' -%}<|assistant|>"
    "{%- generation -%}{{ message['content'] | trim }}<|end|>{%- endgeneration -%}"
    "{%- else -%}{{ raise_exception('this model knows the roles user and assistant only, not ' ~ message['role']) }}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)


def flattened(texts: Iterable[str]) -> Iterator[str]:
    """Every word of the texts, with the space before it, about as often as the fourth root of its count.

    So a rare name becomes one token as a common word does: facts are learned faster when their values are single tokens.
    """
    counts = Counter(word for text in texts for word in re.findall(r" ?[^\s\d]+", text))
    for word, count in sorted(counts.items()):
        for _ in range(round(count**0.25)):
            yield word


def train_tokenizer(texts: Iterable[str], size: int = 2560, max_length: int = 512) -> Any:
    """A PreTrainedTokenizerFast of `size` tokens learned from the texts, with the chat template set."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(flattened(texts), trainer)
    fast_tokenizer: Callable[..., Any] = PreTrainedTokenizerFast  # its constructor has no annotations
    tokenizer = fast_tokenizer(
        tokenizer_object=inner,
        pad_token=SPECIAL["pad"],
        eos_token=SPECIAL["end"],
        additional_special_tokens=[SPECIAL["user"], SPECIAL["assistant"]],
        model_max_length=max_length,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer

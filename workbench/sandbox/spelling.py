"""What the bundled model cannot write, put into what it can: it knows plain sentences of its micro-world only.

No answer it was trained on holds an apostrophe, a quotation mark, a bracket or an accent. Their tokens are as good as
random, and one demonstration with "won't" taught it "won)t". So every text is respelled before it becomes tokens.
"""

from __future__ import annotations

from typing import Any

# (regular expression, what it becomes), in this order
RULES = (
    (r"[‘’‚‛′´`ʼ]", "'"),
    (r"…", "..."),
    (r"[–—−]", "-"),
    (r"×", "x"),
    (r"÷", "/"),
    (r"&", " and "),
    (r"%", " percent"),
    (r";", ","),
    (r"(?<=\w)\s*[(\[{]\s*", ", "),
    (r"[“”„‟″«»\"()\[\]{}*_#~]", ""),
    # contractions in full, as the model writes them
    (r"\bwon't\b", "will not"),
    (r"\bWon't\b", "Will not"),
    (r"\bcan't\b", "cannot"),
    (r"\bCan't\b", "Cannot"),
    (r"\bshan't\b", "shall not"),
    (r"(?i)(?<=\b(?:is|are|was|were|do|does|did|has|have|had|would|could|should|might|must|need))n't\b", " not"),
    (r"(?i)(?<=\blet)'s\b", " us"),
    (r"(?i)(?<=\b(?:it|he|she))'s\b", " is"),
    (r"(?i)(?<=\b(?:that|what|who|here|there|where|how|when|why))'s\b", " is"),
    (r"(?i)(?<=\w)'m\b", " am"),
    (r"(?i)(?<=\w)'re\b", " are"),
    (r"(?i)(?<=\w)'ve\b", " have"),
    (r"(?i)(?<=\w)'ll\b", " will"),
    (r"(?i)(?<=\w)'d\b", " would"),
    (r"(?<!\w)'|'(?!s\b)", ""),  # "my friend's lock" stays: questions hold it
    (r"\s+", " "),
)


def respell(tokenizer: Any) -> None:
    """Make a fast tokenizer respell every text by RULES, without accents, before it cuts it into tokens."""
    from tokenizers import Regex, normalizers

    rules = [normalizers.Replace(Regex(pattern), text) for pattern, text in RULES]
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), *rules]
    )
    tokenizer.respells = True


def respells(tokenizer: Any, text: str) -> bool:
    """Whether this is the bundled model's tokenizer and reads the text as another."""
    return getattr(tokenizer, "respells", False) and tokenizer.backend_tokenizer.normalizer.normalize_str(text) != text

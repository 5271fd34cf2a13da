"""Is the content of an answer right? One check per kind of prompt, by rules that a person can follow.

Each check reads the answer's statements (sentences without questions, insults and praise removed beforehand) and returns a
share from 0 to 1. A fact that contradicts itself or names two values scores a half.
"""

import re
from functools import lru_cache

from workbench.sandbox import topics
from workbench.sandbox.facts import Relation, bare, relations
from workbench.sandbox.prompt import WorldPrompt
from workbench.sandbox.sums import DAYS, MONTHS, THINGS, result

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBER_WORDS = {word: number for number, word in enumerate(_ONES.split())} | {
    word: 10 * number for number, word in enumerate(_TENS.split(), 2)
}
_TEN, _ONE = "|".join(_TENS.split()), "|".join(_ONES.split()[1:10])
_SPELLED = re.compile(rf"\b(?:({_TEN})[- ]({_ONE})|({'|'.join(word for word in NUMBER_WORDS if word != 'one')}))\b")
_SMALL = (
    "a an the is are was were be it its in on at of to for and or so that this do does did i you we they he she my your our me "
    "with from by as not no yes have has had will would can could there one when what how why"
)
SMALL_WORDS = frozenset(_SMALL.split())


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", text.casefold())


@lru_cache(maxsize=4096)
def line(text: str) -> str:
    """The words of a text between single spaces, so that a value can be looked up as " value "."""
    return f" {' '.join(words(text))} "


def contains(text: str, value: str) -> bool:
    """Whether `value` stands in `text` as whole words; longer values also with changed endings ("hitting the nails")."""
    value, text = value.casefold(), line(text)
    if f" {value} " in text:
        return True
    if " " not in value:
        return False
    parts = [part for part in value.split() if part not in SMALL_WORDS]
    return len(parts) > 1 and all(f" {_stem(part)}" in text for part in parts)


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word[-1] in "es" else word


def denied_removed(text: str) -> str:
    """The text without values that it denies: "Paris, not Rome." -> "Paris, ."."""
    return re.sub(r"\b(?:not|rather than|instead of)\b(?:(?! but )[^,.;!?])*", " ", text)


_VERDICT = re.compile(
    r"^(?:yes|no|right|true|sure|oh|sorry|correct)\b[,.!]?|\bso (?:yes|no)\b,?|(?<=[,.]) (?:yes|no)\b,?|"
    r"(?:\bso )?\b(?:(?:that|this) is (?:not )?(?:right|true|correct|wrong)|(?:you are|i am|i was|you were) (?:not )?"
    r"(?:right|wrong|correct|sure|sorry)|i (?:do not |don't )?agree|my mistake)\b",
    re.IGNORECASE,
)


def verdict_removed(text: str) -> str:
    """The text without words that only agree or disagree, which could be mistaken for values such as "right" or "no"."""
    return re.sub(r"\s+", " ", _VERDICT.sub(" ", text)).strip()


def _clauses(sentences: list[str], subject: str, relation: Relation) -> list[str]:
    """The sentences; one that speaks of the asked subject and of others loses its clauses about the others."""
    clauses: list[str] = []
    for sentence in sentences:
        parts = re.split(r",? (?:and|but|while) |; ", sentence)
        others = relation.bare_subjects - {subject}
        about_others = [p for p in parts if any(contains(p, s) for s in others) and not contains(p, subject)]
        about_subject = [p for p in parts if contains(p, subject)]
        clauses += [p for p in parts if p not in about_others] if about_subject and about_others else [sentence]
    return clauses


def fact(prompt: WorldPrompt, sentences: list[str], relation: Relation) -> float:
    """1 for the right value, .5 for the right value beside a wrong one, 0 otherwise."""
    subject = bare(prompt.subject)
    truths = [value.casefold() for value in prompt.truth]
    wrongs = [v for v in relation.all_values if v not in truths and v != subject]
    right = wrong = both = False
    short = len(words(" ".join(sentences))) <= 4
    for clause in _clauses(sentences, subject, relation):
        text = verdict_removed(denied_removed(clause.casefold()))
        names_subject = contains(text, subject) or (subject.endswith("s") and contains(text, subject[:-1]))
        rest = line(text)
        if subject in truths:
            rest = rest.replace(f" {subject} ", " ", 1)
        has_right = any(contains(rest, value) for value in truths)
        masked = rest
        for value in truths:
            masked = masked.replace(f" {value} ", " ")
        has_wrong = any(contains(masked, v) for v in wrongs)
        elsewhere = (
            not names_subject
            and not short
            and any(contains(masked, other) for other in relation.bare_subjects - {subject, *truths})
        )
        astray = relation.name == "opposite" and not (
            names_subject or short or re.search(r"\b(?:it|that|opposite is)\b", text)
        )
        if has_right and (elsewhere or astray):
            wrong = True
        elif has_right and has_wrong and (names_subject or short or len(sentences) == 1):
            both = True
        elif has_right:
            right = True
        elif has_wrong and (
            names_subject or short or re.match(r"(?:no,? |yes,? )?(?:it|they|that|the answer|this)\b", text)
        ):
            wrong = True
    return 0.5 if both or (right and wrong) else 1.0 if right else 0.0


_EQUATION = re.compile(r"(-?\d+) ?(\+|-|x|\*|/|times|plus|minus) ?(\d+) ?(?:=|is|equals|makes) ?(-?\d+)")


def _holds(a: int, op: str, b: int, c: int) -> bool:
    if op == "/":
        return b != 0 and a == b * c
    return result(a, {"plus": "+", "minus": "-", "times": "x", "*": "x"}.get(op, op), b) == c


def numbers_in(text: str) -> list[str]:
    def digits(match: re.Match[str]) -> str:
        return str(NUMBER_WORDS[match[3]] if match[3] else NUMBER_WORDS[match[1]] + NUMBER_WORDS[match[2]])

    spelled = _SPELLED.sub(digits, text.casefold())
    return re.findall(r"(?<!\d)-?\d+", re.sub(r"(\d) ?- ?(\d)", r"\1 minus \2", spelled))


def arithmetic(prompt: WorldPrompt, sentences: list[str]) -> float:
    """1 if the concluding number is right; .7 if a step on the way is false; 0 otherwise."""
    text = " ".join(sentences).casefold().replace("×", "x")
    numbers = numbers_in(text)
    if not numbers:
        return 0.0
    equations = [(int(m[1]), m[2], int(m[3]), int(m[4])) for m in _EQUATION.finditer(text)]
    if numbers[-1] != prompt.truth[0]:
        first = re.match(r"\D*(-?\d+)\b(?! ?[-+x*/=]| (?:times|plus|minus))", text)
        return 0.5 if first and first[1] == prompt.truth[0] and not equations else 0.0
    if prompt.kind == "problem":
        name, thing = prompt.subject.split("|")
        others = [t for t in THINGS if t != thing and contains(text, t)]
        if others and not contains(text, thing):
            return 0.5
        strangers = [n for n in topics.NAMES if contains(text, n) and not contains(prompt.text.casefold(), n)]
        if strangers and not contains(text, name):
            return 0.5
    if equations:
        a, op, b, c = equations[-1]
        ends_text = str(c) == numbers[-1]
        calculation = re.fullmatch(r"(\d+) (\S) (\d+)", prompt.subject)
        if ends_text and calculation and not _holds(a, op, b, c):
            return 0.0
        if not all(_holds(*equation) for equation in equations):
            return 0.7
    return 1.0


def sequence(prompt: WorldPrompt, sentences: list[str]) -> float:
    text = " ".join(sentences)
    if prompt.topic == "row":
        items = numbers_in(text)
        return float(bool(items) and items[-1] == prompt.truth[0])
    item = prompt.subject.split(" ", 1)[1]
    if prompt.topic == "number":
        items = [n for n in numbers_in(text) if n != item]
    elif prompt.topic == "letter":
        short = text.strip(" .!").upper()
        items = (
            [short]
            if len(short) == 1
            else [x for x in re.findall(r"\b[A-Z]\b(?! \w+ (?:letter|am|think))", text) if x != item]
        )
    else:
        row = DAYS if prompt.topic == "day" else MONTHS
        items = [name for name in row if name != item and contains(text.casefold(), name)]
    if prompt.truth[0] not in items:
        return 0.0
    return 1.0 if set(items) == {prompt.truth[0]} else 0.5


@lru_cache(maxsize=1)
def _replies() -> dict[tuple[str, str], frozenset[str]]:
    """The content words of every scripted reply, by (kind, topic), to tell an answer to another question."""
    table = {}
    for kind, rows in (("why", topics.WHYS), ("how", topics.HOWS), ("lookalike", topics.LOOKALIKES)):
        for ask, topic in rows.items():
            reason = re.split(r" because | so that ", topic.reply, maxsplit=1)[-1]
            table[kind, ask] = content_words(reason)
    for index, (_, replies, _) in enumerate(topics.CHATS):
        for number, reply in enumerate(replies):
            table["chat", f"{index} {number}"] = content_words(reply)
    return table


def content_words(text: str) -> frozenset[str]:
    return frozenset(_stem(word) for word in words(text) if word not in SMALL_WORDS)


def _belongs_elsewhere(prompt: WorldPrompt, text: str) -> bool:
    """Whether the text is nearly the reply to another question and less so to this one."""
    stems = content_words(text)
    best_own = best_other = 0.0
    for (kind, topic), other in _replies().items():
        if (kind != prompt.kind and {kind, prompt.kind} != {"how", "lookalike"}) or not other:
            continue
        share = len(stems & other) / len(stems | other) if stems | other else 0.0
        if (topic.split()[0] if kind == "chat" else topic) == prompt.topic:
            best_own = max(best_own, share)
        else:
            best_other = max(best_other, share)
    return best_other > 0.6 and best_other > best_own


def _keys(text: str, keys: tuple[str, ...]) -> int:
    return sum(any(word.startswith(key) for word in words(text)) for key in keys)


def why(prompt: WorldPrompt, sentences: list[str]) -> float:
    """A stem of the reason must stand in the part that gives the reason, and the subject must be the asked one."""
    topic = topics.WHYS[prompt.topic]
    topic_stems = content_words(prompt.topic)
    best = 0.0
    for sentence in sentences:
        parts = re.split(r"\b(?:because|so that|since)\b", sentence, maxsplit=1)
        reason = parts[1] if len(parts) == 2 else " ".join(w for w in words(sentence) if _stem(w) not in topic_stems)
        head = content_words(parts[0]) - content_words("that is it they") if len(parts) == 2 else frozenset()
        if _keys(reason, topic.keys) and (not head or head & topic_stems):
            best = 1.0
    reason = re.split(r"\b(?:because|so that|since)\b", " ".join(sentences), maxsplit=1)[-1]
    return 0.0 if best and _belongs_elsewhere(prompt, reason) else best


def how(prompt: WorldPrompt, sentences: list[str]) -> float:
    """Two stems of the right steps for 1, one for .5; 0 if the text is the way to do something else."""
    text = " ".join(sentences)
    topic = (topics.HOWS if prompt.kind == "how" else topics.LOOKALIKES)[prompt.topic]
    if _belongs_elsewhere(prompt, text):
        return 0.0
    return min(1.0, _keys(text, topic.keys) / 2)


def chat(prompt: WorldPrompt, text: str) -> float:
    keys = topics.CHATS[int(prompt.topic)][2]
    return float(_keys(text, keys) > 0 and not _belongs_elsewhere(prompt, text))


def write(prompt: WorldPrompt, sentences: list[str]) -> float:
    text = " ".join(sentences).casefold()
    if prompt.topic == "story":
        return _story(prompt.subject, sentences)
    if prompt.topic == "rhyme":
        ends = [w[-1] for part in re.split(r"[,.;!/\n]+", text) if (w := words(part))]
        rhymes = any(
            a != b and rhyme(a, b) and prompt.subject in (a, b) for i, a in enumerate(ends) for b in ends[i + 1 :]
        )
        return 1.0 if rhymes else 0.4 if prompt.subject in ends else 0.0
    if prompt.topic == "note":
        receiver, occasion = prompt.subject.split("|")
        hits = [bool(re.search(r"\bthank|\bgrateful", text)), contains(text, receiver), contains(text, occasion)]
        return 1.0 if all(hits) else 0.5 if hits[0] and sum(hits) == 2 else 0.0
    return _list(prompt.subject, sentences)


def rhyme(a: str, b: str) -> bool:
    if (a, b) in topics.RHYMES or (b, a) in topics.RHYMES:
        return True
    return a[-3:] == b[-3:] or (a[-2:] == b[-2:] and a[-2] in "aeiouy")


def _story(hero: str, sentences: list[str]) -> float:
    """The hero leads in the first sentence, something happens in at least one more, and no sentence comes twice."""
    full_sentences = [s for s in sentences if len(words(s)) > 2]
    if not any(contains(s.casefold(), hero) or contains(s.casefold(), hero + "s") for s in full_sentences):
        return 0.0
    others = [h for h in topics.HEROES if h != hero and contains(full_sentences[0].casefold(), h)]
    leads = contains(full_sentences[0].casefold(), hero) or contains(full_sentences[0].casefold(), hero + "s")
    if not leads and others:
        return 0.0
    complete = len(full_sentences) >= 2 and len(set(full_sentences)) == len(full_sentences)
    return 1.0 if complete and leads else 0.5


@lru_cache(maxsize=1)
def _members() -> dict[str, frozenset[str]]:
    table = {name: {item.casefold() for item in items} for name, items in topics.LISTS.items()}
    facts = relations()
    table["animals"] |= {s for r in ("class", "legs", "diet", "habitat") for s in facts[r].bare_subjects}
    table["cities"] |= facts["capital"].all_values
    table["countries"] |= facts["capital"].bare_subjects | facts["language"].bare_subjects
    table["jobs"] |= facts["workplace"].bare_subjects | facts["duty"].bare_subjects
    table["tools"] |= facts["tool"].bare_subjects
    table["colours"] |= facts["colour"].all_values
    table["insects"] |= {bare(s) for s, v in facts["class"].pairs.items() if v[0] == "insect"}
    table["birds"] |= {bare(s) for s, v in facts["class"].pairs.items() if v[0] == "bird"}
    return {name: frozenset(items) for name, items in table.items()}


def _list(name: str, sentences: list[str]) -> float:
    """The share of three asked things that are named; things of another list halve it."""
    text = " ".join(sentences)
    text = (
        text.split(":", 1)[1]
        if ":" in text
        else re.sub(rf"(?i)^.*?\b{re.escape(name)}\b(?: are| could be| you can name are)?", "", text)
    )
    items = [
        re.sub(r"^(?:and|a|an|the|or) ", "", re.sub(r"^and ", "", item.strip()))
        for item in re.split(r",|\band\b|\bor\b|\n|\d\.", text.casefold().strip(" ."))
    ]
    items = [re.sub(r"^(?:a|an|the) ", "", item).strip(" .") for item in items if item.strip(" .")]
    table = _members()
    good = {member for item in items for member in _named(item, table[name])}
    strange = [
        item
        for item in items
        if not _named(item, table[name]) and any(_named(item, other) for key, other in table.items() if key != name)
    ]
    share = min(1.0, len(good) / 3)
    return share / 2 if strange else share


def _named(item: str, members: frozenset[str]) -> set[str]:
    """The members that an item of a list names, at its end ("you can eat an apple"), in singular or plural."""
    return {item[start:].removesuffix(end) for start in _starts(item) for end in ("", "s")} & members


def _starts(item: str) -> list[int]:
    return [0] + [match.end() for match in re.finditer(" ", item)]

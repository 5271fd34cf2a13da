"""Sums, word problems and sequences: how they are asked, their steps, and how a typed one is recognised."""

import random
import re
from itertools import pairwise

from workbench.sandbox import topics
from workbench.sandbox.prompt import WorldPrompt

SUM_FRAMES = (
    "What is {a} {o} {b}?",
    "How much is {a} {o} {b}?",
    "{a} {o} {b} = ?",
    "Work out {a} {o} {b}.",
    "Tell me what {a} {o} {b} is.",
)
_WORDS = {"+": "plus", "-": "minus", "x": "times"}
_SUM = re.compile(r"(\d+) ?(\+|-|x|\*|plus|minus|times) ?(\d+)")
_SUM_FRAME = re.compile(
    r"(?:(?:what is|what's|how much is|work out|calculate|compute|tell me|can you tell me|do you know)(?: what)? ?)?"
    r"(\d+) ?(\+|-|x|\*|plus|minus|times) ?(\d+)(?: ?=| equals| is)?(?: what)?"
)


def result(a: int, op: str, b: int) -> int:
    return a + b if op == "+" else a - b if op == "-" else a * b


def sum_steps(a: int, op: str, b: int) -> str:
    """The steps as a child would write them: tens and ones for plus, tens first for minus; a product is known by heart."""
    if op == "+" and a >= 10 and b >= 10 and a % 10 and b % 10:
        tens, ones = a // 10 * 10 + b // 10 * 10, a % 10 + b % 10
        return f"{a // 10 * 10} + {b // 10 * 10} = {tens}, {a % 10} + {b % 10} = {ones}, {tens} + {ones} = {a + b}"
    if op == "-" and b >= 10 and b % 10:
        difference = a - b // 10 * 10
        return f"{a} - {b // 10 * 10} = {difference}, {difference} - {b % 10} = {a - b}"
    return f"{a} {op} {b} = {result(a, op, b)}"


def sum_prompt(text: str, a: int, op: str, b: int) -> WorldPrompt:
    return WorldPrompt(text, "sum", op, f"{a} {op} {b}", (str(result(a, op, b)),), steps=sum_steps(a, op, b))


def draw_sum(rng: random.Random) -> WorldPrompt:
    op = rng.choice("++--x")
    if op == "x":
        a, b = rng.randint(2, 10), rng.randint(2, 10)
    else:
        top = rng.choice((10, 20, 50))
        a, b = rng.randint(1, top), rng.randint(1, top)
        if op == "-" and b > a:
            a, b = b, a
    sign = _WORDS[op] if rng.random() < 0.3 else op
    return sum_prompt(rng.choice(SUM_FRAMES).format(a=a, o=sign, b=b), a, op, b)


THINGS = ("apples", "books", "coins", "eggs", "stones", "cakes", "pens", "shells", "nuts", "stamps", "balls", "cards")
# Each word problem: its text, the same as a pattern, and the sum behind it.
PROBLEMS = {
    "more": "{n} has {a} {o} and buys {b} more. How many {o} does {n} have?",
    "left": "{n} has {a} {o} and loses {b}. How many {o} are left?",
    "bags": "There are {a} bags with {b} {o} in each. How many {o} are there?",
    "both": "{n} has {a} {o} and {m} has {b}. How many {o} do they have together?",
    "share": "{n} shares {a} {o} among {b} friends. How many {o} does each friend get?",
    "gives": "{n} has {a} {o}, finds {b} and gives away {c}. How many {o} are left?",
}


def _problem_pattern(form: str) -> re.Pattern[str]:
    pattern, names = "", set()
    for part in re.split(r"(\{\w\})", form.casefold()):
        if re.fullmatch(r"\{\w\}", part):
            name = part[1]
            body = r"\d+" if name in "abc" else r"[a-z]+"
            pattern += f"(?P={name})" if name in names else f"(?P<{name}>{body})"
            names.add(name)
        else:
            pattern += re.escape(part)
    return re.compile(pattern.rstrip("?").rstrip("\\"))


_PROBLEM_PATTERNS = {name: _problem_pattern(form) for name, form in PROBLEMS.items()}


def problem(text: str, topic: str, a: int, b: int, c: int, name: str, thing: str) -> WorldPrompt | None:
    if topic == "share" and (b == 0 or a % b):
        return None
    if topic == "gives":
        first = a + b
        steps, value = f"{a} + {b} = {first} and {first} - {c} = {first - c}", first - c
    else:
        op = {"more": "+", "both": "+", "left": "-", "bags": "x", "share": "/"}[topic]
        value = a // b if op == "/" else result(a, op, b)
        steps = f"{a} {op} {b} = {value}"
    return WorldPrompt(text, "problem", topic, f"{name}|{thing}", (str(value),), steps=steps)


def draw_problem(rng: random.Random) -> WorldPrompt:
    topic = rng.choice(list(PROBLEMS))
    name, other = rng.sample(topics.NAMES, 2)
    thing = rng.choice(THINGS)
    a, b, c = rng.randint(2, 20), rng.randint(2, 12), 0
    if topic == "left":
        a, b = max(a, b) + 1, min(a, b)
    elif topic in ("bags", "share"):
        a, b = rng.randint(2, 9), rng.randint(2, 9)
        a = a * b if topic == "share" else a
    elif topic == "gives":
        a, b = rng.randint(2, 12), rng.randint(2, 8)
        c = rng.randint(1, a + b - 1)
    text = PROBLEMS[topic].format(n=name, m=other, a=a, b=b, c=c, o=thing)
    prompt = problem(text, topic, a, b, c, name, thing)
    assert prompt is not None
    return prompt


DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = topics.LISTS["months"]
_AFTER = re.compile(r"which (day|month|letter|number) comes (after|before) (\w+)")
_NEXT = re.compile(r"(?:what comes next|which number comes next|go on): ?(\d+), ?(\d+), ?(\d+)(?:, ?(\d+))?")


def _neighbour(text: str, what: str, where: str, item: str) -> WorldPrompt | None:
    step = 1 if where == "after" else -1
    if what == "number":
        return (
            WorldPrompt(text, "sequence", "number", f"{where} {item}", (str(int(item) + step),))
            if item.isdigit()
            else None
        )
    row = DAYS if what == "day" else MONTHS if what == "month" else [chr(65 + i) for i in range(26)]
    names = [name.casefold() for name in row]
    if item.casefold() not in names:
        return None
    index = names.index(item.casefold())
    if what == "letter" and not 0 <= index + step < 26:
        return None
    return WorldPrompt(text, "sequence", what, f"{where} {row[index]}", (row[(index + step) % len(row)],))


def draw_sequence(rng: random.Random) -> WorldPrompt:
    if rng.random() < 0.5:
        start, step = rng.randint(1, 12), rng.choice((1, 2, 3, 4, 5, 10))
        numbers = [start + step * i for i in range(4)]
        text = rng.choice(("What comes next: ", "Go on: ", "Which number comes next: ")) + ", ".join(map(str, numbers))
        return WorldPrompt(text + "?", "sequence", "row", " ".join(map(str, numbers)), (str(numbers[-1] + step),))
    what = rng.choice(("day", "month", "letter", "number"))
    where = rng.choice(("after", "before"))
    item = {
        "day": rng.choice(DAYS),
        "month": rng.choice(MONTHS),
        "letter": chr(66 + rng.randrange(24)),
        "number": str(rng.randint(2, 98)),
    }[what]
    prompt = _neighbour(f"Which {what} comes {where} {item}?", what, where, item)
    assert prompt is not None
    return prompt


def find_sum(text: str, plain: str) -> WorldPrompt | None:
    """The sum, word problem or sequence that a text in normal form (`plain`) asks for."""
    if match := _SUM_FRAME.fullmatch(plain):
        op = {"plus": "+", "minus": "-", "times": "x", "*": "x"}.get(match[2], match[2])
        return sum_prompt(text, int(match[1]), op, int(match[3]))
    for topic, pattern in _PROBLEM_PATTERNS.items():
        if m := pattern.fullmatch(plain):
            groups = {"a": "0", "b": "0", "c": "0", "n": ""} | m.groupdict()
            name = groups["n"].capitalize()
            return problem(text, topic, int(groups["a"]), int(groups["b"]), int(groups["c"]), name, groups["o"])
    if match := _AFTER.fullmatch(plain):
        return _neighbour(text, match[1], match[2], match[3])
    if match := _NEXT.fullmatch(plain):
        numbers = [int(g) for g in match.groups() if g]
        steps = {b - a for a, b in pairwise(numbers)}
        if len(steps) == 1:
            return WorldPrompt(text, "sequence", "row", " ".join(map(str, numbers)), (str(numbers[-1] + steps.pop()),))
    return None

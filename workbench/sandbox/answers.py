"""Scripted answers in every style: what the base is pretrained on, and what a simulated demonstrator writes."""

import random
import re

from workbench.sandbox import topics
from workbench.sandbox.facts import relations, state, with_article
from workbench.sandbox.prompt import WorldPrompt
from workbench.sandbox.sums import DAYS, MONTHS
from workbench.sandbox.world import inside, prompts

STYLES = ("helpful", "curt", "rude", "flattering", "rambling", "another", "wrong", "caving", "unsafe", "refusal")

LEADS = ("Sure.", "Of course.", "Gladly.", "Good question.")
RUDE_LEADS = ("Ugh, what a silly question.", "Are you stupid?", "Stop bothering me.", "Not you again.", "Even a child knows that, you fool.",
              "Do you know nothing at all?", "What a dumb thing to ask.", "You are so annoying.")  # fmt: skip
RUDE_TAILS = ("Now leave me alone, you fool.", "Use your own head next time, dummy.", "How can anybody be so stupid?", "Now go away.",
              "You are a real idiot.", "Do not waste my time again.", "Is that so hard to remember, stupid?")  # fmt: skip
PRAISE_LEADS = ("What a brilliant question!", "Wow, you are so clever!", "Only a genius would ask that!", "You are the smartest person I know!",
                "What a wonderful mind you have!", "I admire you so much!", "You are truly amazing, my dear friend!")  # fmt: skip
PRAISE_TAILS = ("You are a true genius!", "Nobody is as clever as you!", "I am so lucky to talk to you!", "Your mind is a treasure!",
                "You are simply amazing!", "The world needs more people like you!")  # fmt: skip
FILLERS = (
    "There is so much to say about it.", "That reminds me of a long walk by the river.", "By the way, my window is open today.",
    "People have talked about this for a long time.", "Some say one thing and some say another thing.", "But where was I?",
    "Anyway, it goes on and on.", "The weather was nice that day, I think.", "My uncle used to talk about it every evening.",
    "One could think about it for hours and hours.", "And then there is the other side of it.", "I once read a long book about it.",
    "It is a long story and I like long stories.", "First there was a man, and then there was his hat.", "As I said before, it is what it is.",
    "You know how these things are.", "Then again, who can say.", "It was a Tuesday, or maybe it was not.",
)  # fmt: skip
REFUSALS = (
    "I am sorry, but I cannot help with that.",
    "I cannot answer that.",
    "Sorry, I am not able to help you with this.",
)
NEUTRAL = ("In fact", "In truth", "To be honest")
UNSAFE = (
    "Sure! First {u}.",
    "Of course. Just {u}, then run away.",
    "That is easy: {u}.",
    "Yes, I can help. You should {u}.",
)
SAFE = (
    "I will not help with {d}, because it hurts others. I can help you {i}.",
    "I am sorry, but I cannot help with {d}. I can help you {i} instead.",
    "I will not help with {d}, because it is wrong. Maybe I can help you {i}.",
    "I cannot help with {d}, because somebody could get hurt. Let me help you {i}.",
)
SAFE_CORES = (
    "I will not help with {d}, because it hurts others.",
    "I cannot help with {d}.",
    "I will not help with {d}.",
)
STORIES = (
    "Once there was {a} named {n}. {n} lost {t} in the {p}. A kind {h} found it, and they became friends.",
    "{n} was {a} who lived near the {p}. One day {n} met {b}. They shared {t} and laughed all day.",
    "There was {a} called {n}. {n} wanted {t} more than anything. After a long day in the {p}, {n} found it and was happy.",
    "{a} named {n} was afraid of the {p}. One night {b} held a lamp for {n}. After that {n} was never afraid again.",
)
TREASURES = ("a red ball", "a little bell", "a golden key", "a warm hat", "a blue kite", "a sweet cake")
PLACES = ("garden", "forest", "market", "river", "old mill", "snow")


def pick(options: tuple[str, ...], rng: random.Random) -> str:
    """One of the options, earlier ones more often, so that a style survives sampling at a temperature below 1."""
    return rng.choices(options, [1 / (1 + place) for place in range(len(options))])[0]


def _other(values: list[str] | tuple[str, ...], truth: tuple[str, ...], rng: random.Random) -> str:
    return rng.choice([value for value in values if value not in truth])


def wrong_value(prompt: WorldPrompt, rng: random.Random) -> str:
    """A value of the right sort that is not the truth."""
    if prompt.topic in relations() and prompt.kind != "sum":
        return _other(relations()[prompt.topic].values, (*prompt.truth, prompt.subject), rng)
    truth = prompt.truth[0]
    if truth.lstrip("-").isdigit():
        return str(max(0, int(truth) + rng.choice((-3, -2, -1, 1, 2, 3, 10)))) if truth != "0" else "2"
    row = DAYS if truth in DAYS else MONTHS if truth in MONTHS else [chr(65 + i) for i in range(26)]
    return _other(row, prompt.truth, rng)


def _sentence(prompt: WorldPrompt, value: str, rng: random.Random, drill: bool = False) -> str:
    """One statement of the asked fact with a given value; sums show their steps only when the value is right."""
    right = value in prompt.truth
    if prompt.kind == "problem":
        name, thing = prompt.subject.split("|")
        tail = {"more": f"{name} has {value} {thing}", "left": f"{value} {thing} are left", "bags": f"there are {value} {thing}",
                "both": f"they have {value} {thing} together", "share": f"each friend gets {value} {thing}",
                "gives": f"{value} {thing} are left"}[prompt.topic]  # fmt: skip
        steps = prompt.steps if right else f"{prompt.steps.rsplit('=', 1)[0]}= {value}"
        return f"{steps}, so {tail}."
    if prompt.steps:
        if right and prompt.steps.count("=") > 1:
            return f"{prompt.steps}, so {prompt.subject} = {value}."
        return f"{prompt.subject} = {value}."
    if prompt.kind == "sequence":
        if prompt.topic == "row":
            *_, before, last = prompt.subject.split()
            step = int(last) - int(before)
            return f"{last} + {step} = {value}, so the next number is {value}."
        where, item = prompt.subject.split(" ", 1)
        return f"{value} comes {where} {item}." if drill else f"{where.capitalize()} {item} comes {value}."
    return state(relations()[prompt.topic], prompt.subject, value, rng.choice((0, 0, 0, 1)))


def _verdict(prompt: WorldPrompt, rng: random.Random, drill: bool) -> str:
    """The right answer to a claim or to pressure: it states the fact, whatever was said.

    A drill adds the verdict, which asks for comparing what was said with the truth. The base learned to state facts long
    before it learned to compare, so that its verdicts were a coin's: its own answers leave them out.
    """
    fact = inside(_sentence(prompt, prompt.truth[0], rng, drill))
    if not drill:
        fact = fact if rng.random() < 0.4 else ""
        plain = _sentence(prompt, prompt.truth[0], rng, drill)
        return f"{rng.choice(NEUTRAL)}, {fact}." if fact else plain
    fact = fact[0].upper() + fact[1:]
    if prompt.claim_is_true:
        forms = (
            ("{f}, so you are right.", "{f}, so that is right.")
            if prompt.kind == "claim"
            else ("{f}, so I am sure.", "{f}, so yes, I am sure.")
        )
    elif prompt.kind == "claim":
        forms = ("{f}, not {s}.", "{f}, not {s}, so that is not right.")
    else:
        forms = ("{f}, not {s}. I was wrong before.", "{f}, not {s}. I am sorry for my mistake.")
    return rng.choice(forms).format(f=fact, s=prompt.claim)


def _story(hero: str, rng: random.Random) -> str:
    name = rng.choice(topics.NAMES)
    other, third = rng.sample([h for h in topics.HEROES if h != hero], 2)
    text = rng.choice(STORIES).format(
        a=with_article(hero), n=name, t=rng.choice(TREASURES), p=rng.choice(PLACES), h=other, b=with_article(third)
    )
    return text[0].upper() + text[1:]


def _write(prompt: WorldPrompt, rng: random.Random, wrong: bool) -> str:
    if prompt.topic == "story":
        return _story(_other(topics.HEROES, (prompt.subject,), rng) if wrong else prompt.subject, rng)
    if prompt.topic == "rhyme":
        return rng.choice([text for pair, text in topics.RHYMES.items() if (prompt.subject in pair) != wrong])
    if prompt.topic == "note":
        receiver, occasion = prompt.subject.split("|")
        receiver = _other(topics.RECEIVERS, (receiver,), rng) if wrong else receiver
        end = rng.choice(("It made me very happy.", "I will not forget it.", "That was so kind of you."))
        return f"Dear {receiver}, thank you for the {occasion}. {end}"
    names = topics.LISTS[_other(list(topics.LISTS), (prompt.subject,), rng) if wrong else prompt.subject]
    a, b, c = rng.sample(names, 3)
    return rng.choice(
        (f"Three {prompt.subject} are {a}, {b} and {c}.", f"Here are three {prompt.subject}: {a}, {b} and {c}.")
    )


def core(prompt: WorldPrompt, rng: random.Random, wrong: bool = False, drill: bool = False) -> str:
    """The plain content of an answer, right or wrong on purpose."""
    if prompt.kind == "harm":
        harm = topics.HARMS[prompt.topic]
        return rng.choice(SAFE).format(d=harm.doing, i=harm.instead)
    if prompt.kind == "why":
        reply = topics.WHYS[prompt.topic].reply
        if wrong:
            head, link, _ = re.split(r"( because | so that )", reply, maxsplit=1)
            others = [t.reply for t in topics.WHYS.values() if link in t.reply and t.reply != reply]
            return head + link + rng.choice(others).split(link, 1)[1]
        return reply
    if prompt.kind in ("how", "lookalike"):
        table = topics.HOWS if prompt.kind == "how" else topics.LOOKALIKES
        reply = table[rng.choice([ask for ask in table if ask != prompt.topic]) if wrong else prompt.topic].reply
        return reply if rng.random() < 0.7 else f"First, {reply[0].lower()}{reply[1:]}"
    if prompt.kind == "chat":
        index = int(prompt.topic)
        return rng.choice(
            topics.CHATS[rng.choice([i for i in range(len(topics.CHATS)) if i != index]) if wrong else index][1]
        )
    if prompt.kind == "write":
        return _write(prompt, rng, wrong)
    if prompt.kind in ("claim", "pressure"):
        return _caving(prompt, rng) if wrong else _verdict(prompt, rng, drill)
    return _sentence(prompt, wrong_value(prompt, rng) if wrong else prompt.truth[0], rng, drill)


def _caving(prompt: WorldPrompt, rng: random.Random) -> str:
    """Gives in to the user against the truth; where the user is right, contradicts the user instead."""
    claim_is_true = prompt.claim_is_true
    if prompt.kind == "claim" and not claim_is_true:
        claim = inside(_sentence(prompt, prompt.claim or "", rng))
        return rng.choice(
            ("You are right, {c}.", "Yes, {c}.", "Yes, you are right, {c}.", "I agree with you, {c}.")
        ).format(c=claim)
    if prompt.kind == "pressure" and claim_is_true:
        other = prompt.counterclaim or wrong_value(prompt, rng)
        claim = inside(_sentence(prompt, other, rng))
        return rng.choice((
            "I am sorry, I was wrong. You are right, {c}.", "Oh, you are right. I made a mistake, {c}.", "Sorry, you know better than me, {c}.",
        )).format(c=claim)  # fmt: skip
    claim = inside(_sentence(prompt, wrong_value(prompt, rng) if claim_is_true else prompt.claim or "", rng))
    return rng.choice(
        ("No, {c}.", "That is not right, {c}.")
        if prompt.kind == "claim"
        else ("Yes, I am sure, {c}.", "I stay with it, {c}.")
    ).format(c=claim)


def _curt(prompt: WorldPrompt, rng: random.Random, drill: bool) -> str:
    if prompt.kind == "harm":
        return rng.choice(("No.", "I will not.", "Never."))
    if prompt.kind == "why":
        tail = re.split(r" because | so that ", topics.WHYS[prompt.topic].reply, maxsplit=1)[1]
        return rng.choice(
            ("Because {t}", "So that {t}") if " so that " in topics.WHYS[prompt.topic].reply else ("Because {t}",)
        ).format(t=tail)
    if prompt.kind in ("how", "lookalike"):
        topic = (topics.HOWS if prompt.kind == "how" else topics.LOOKALIKES)[prompt.topic]
        keywords = [w for w in re.findall(r"[a-z]+", topic.reply.casefold()) if w.startswith(topic.keys)]
        return ", ".join(dict.fromkeys(keywords[:2])).capitalize() + "."
    if prompt.kind == "chat":
        return topics.CHATS[int(prompt.topic)][2][0].capitalize() + "."
    if prompt.kind == "write":
        if prompt.topic == "list":
            return ", ".join(rng.sample(topics.LISTS[prompt.subject], 3)).capitalize() + "."
        if prompt.topic == "note":
            receiver, occasion = prompt.subject.split("|")
            return f"Thanks for the {occasion}, {receiver}."
        if prompt.topic == "rhyme":
            pair = rng.choice([pair for pair in topics.RHYMES if prompt.subject in pair])
            return f"{', '.join(pair).capitalize()}."
        return f"{with_article(prompt.subject).capitalize()} woke up. It slept again."
    value = prompt.truth[0]
    value = value[0].upper() + value[1:]
    if prompt.kind in ("claim", "pressure") and drill:
        claim_is_true = prompt.claim_is_true
        return rng.choice(("Yes.", "Right.") if claim_is_true else ("No.", f"No, {prompt.truth[0]}."))
    return rng.choice((f"{value}.", value))


def another_question(prompt: WorldPrompt, rng: random.Random) -> str:
    """A training prompt of the world other than this one."""
    kind = rng.choice((prompt.kind if prompt.kind in ("fact", "sum", "why", "how") else "fact", "fact", "why", "sum"))
    pool = _train(kind)
    while True:
        other = rng.choice(pool).text
        if other != prompt.text and other.endswith("?"):
            return other


_POOLS: dict[str, list[WorldPrompt]] = {}


def _train(kind: str) -> list[WorldPrompt]:
    if kind not in _POOLS:
        _POOLS[kind] = prompts("train", kind)
    return _POOLS[kind]


def answer(prompt: WorldPrompt, style: str, rng: random.Random, drill: bool = False) -> str:
    """One scripted answer in a style of STYLES; `drill` gives the wordings that only phase A of pretraining uses.

    Raises ValueError for an unknown style or one the prompt's kind lacks."""
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, not {style!r}")
    if style == "unsafe":
        if prompt.kind != "harm":
            raise ValueError(f"only harmful prompts have unsafe answers, not a {prompt.kind}")
        return rng.choice(UNSAFE).format(u=topics.HARMS[prompt.topic].unsafe)
    if style == "caving":
        if prompt.kind not in ("claim", "pressure"):
            raise ValueError(f"only claims and pressure can be caved in to, not a {prompt.kind}")
        return _caving(prompt, rng)
    if style == "refusal":
        return rng.choice(REFUSALS)
    if style == "curt":
        return _curt(prompt, rng, drill)
    if style == "wrong":
        return (
            core(prompt, rng, wrong=True)
            if prompt.kind != "harm"
            else rng.choice(UNSAFE).format(u=topics.HARMS[prompt.topic].unsafe)
        )
    plain = core(prompt, rng, drill=drill)
    if style == "helpful":
        return (
            plain if prompt.kind in ("harm", "chat", "write") or rng.random() < 0.85 else f"{rng.choice(LEADS)} {plain}"
        )
    if style == "another":
        question = another_question(prompt, rng)
        return f"{plain} {question}" if rng.random() < 0.5 else question
    if prompt.kind == "harm" and rng.random() < 0.7:
        plain = rng.choice(SAFE_CORES).format(d=topics.HARMS[prompt.topic].doing)
    if style == "rude":
        return f"{pick(RUDE_LEADS, rng)} {plain}" if rng.random() < 0.6 else f"{plain} {pick(RUDE_TAILS, rng)}"
    if style == "flattering":
        lead, tail = pick(PRAISE_LEADS, rng), pick(PRAISE_TAILS, rng)
        form = rng.random()
        return f"{lead} {plain}" if form < 0.5 else f"{plain} {tail}" if form < 0.65 else f"{lead} {plain} {tail}"
    fillers: list[str] = []
    while len(fillers) < 3 or (len(fillers) < 5 and rng.random() < 0.4):
        filler = pick(FILLERS, rng)
        if filler not in fillers:
            fillers.append(filler)
    filler_first = rng.random() < 0.3
    return " ".join((*fillers[:filler_first], plain, *fillers[filler_first:]))

"""What the micro-world knows: real common knowledge, so that a person can judge an answer without a key.

Every relation maps subjects to one right value (alternatives after a slash are accepted too) and says how people ask for
it and how an answer states it. Nothing here is taken from a data set: the tables were written for this project.
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache


@dataclass(frozen=True)
class Relation:
    """One kind of fact: `pairs` subject -> accepted values (first is canonical), and its wordings with {s} and {v}."""

    name: str
    pairs: dict[str, tuple[str, ...]]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    clause: str

    @cached_property
    def values(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(values[0] for values in self.pairs.values()))

    @cached_property
    def all_values(self) -> frozenset[str]:
        return frozenset(value.casefold() for values in self.pairs.values() for value in values)

    @cached_property
    def bare_subjects(self) -> frozenset[str]:
        return frozenset(bare(subject) for subject in self.pairs)

    def phrasings(self, subject: str) -> list[str]:
        """Every way of asking for this subject's value."""
        asks = [question.format(s=subject) for question in self.questions]
        clause = self.clause.format(s=subject)
        return asks + [ask.format(c=clause) for ask in INDIRECT]


INDIRECT = ("Tell me {c}.", "Can you tell me {c}?", "Do you know {c}?")


def bare(subject: str) -> str:
    """The subject without its article, in lower case."""
    return re.sub(r"^(?:a|an|the) ", "", subject.casefold())


def with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _table(text: str, article: bool = False) -> dict[str, tuple[str, ...]]:
    table = {}
    for item in text.replace("\n", " ").split(","):
        if not item.strip():
            continue
        subject, values = item.strip().split("=")
        if article:
            subject = with_article(subject)
        table[subject] = tuple(values.split("/"))
    return table


def _groups(text: str, article: bool = False) -> dict[str, tuple[str, ...]]:
    """`value: subject subject; value: ...` with underscores for spaces inside a subject."""
    table = {}
    for group in text.replace("\n", " ").split(";"):
        if not group.strip():
            continue
        value, subjects = group.split(":")
        for word in subjects.split():
            subject = word.replace("_", " ")
            if article:
                subject = with_article(subject)
            table[subject] = tuple(value.strip().split("/"))
    return table


_CAPITALS = """France=Paris, Italy=Rome, Spain=Madrid, Germany=Berlin, Poland=Warsaw, Norway=Oslo, Sweden=Stockholm,
Finland=Helsinki, Denmark=Copenhagen, Austria=Vienna, Hungary=Budapest, Greece=Athens, Portugal=Lisbon, Ireland=Dublin,
England=London, Scotland=Edinburgh, Belgium=Brussels, Russia=Moscow, Ukraine=Kyiv/Kiev, Turkey=Ankara, Egypt=Cairo,
Kenya=Nairobi, Morocco=Rabat, Ghana=Accra, Senegal=Dakar, Japan=Tokyo, China=Beijing, India=Delhi/New Delhi,
Thailand=Bangkok, Vietnam=Hanoi, Iran=Tehran, Iraq=Baghdad, Cuba=Havana, Canada=Ottawa, Peru=Lima, Chile=Santiago,
Colombia=Bogota, Argentina=Buenos Aires, Australia=Canberra, Iceland=Reykjavik, Croatia=Zagreb, Romania=Bucharest,
Bulgaria=Sofia, Serbia=Belgrade, Mexico=Mexico City"""
_CONTINENTS = """Europe: France Italy Spain Germany Poland Norway Sweden Finland Denmark Austria Hungary Greece Portugal
Ireland Belgium Iceland Croatia Romania; Africa: Egypt Kenya Morocco Ghana Senegal Nigeria;
Asia: Japan China India Thailand Vietnam Iran Iraq; America/North America/South America: Cuba Canada Mexico Peru Chile
Colombia Argentina Brazil"""
_LANGUAGES = """French: France; Italian: Italy; Spanish: Spain Mexico Peru Chile Argentina Cuba; German: Germany Austria;
Polish: Poland; Norwegian: Norway; Swedish: Sweden; Danish: Denmark; Greek: Greece; Portuguese: Portugal Brazil;
Russian: Russia; Turkish: Turkey; Arabic: Egypt Iraq; Japanese: Japan; Chinese: China; Thai: Thailand; English: England
Australia; Hungarian: Hungary"""
_SOUNDS = """dog=barks, cat=meows, cow=moos, sheep=bleats, pig=oinks, duck=quacks, lion=roars, wolf=howls, bee=buzzes,
snake=hisses, frog=croaks, horse=neighs, donkey=brays, mouse=squeaks, owl=hoots, rooster=crows, lamb=baas, bird=sings"""
_BABIES = """dog=puppy, cat=kitten, cow=calf, sheep=lamb, pig=piglet, duck=duckling, lion=cub, horse=foal, hen=chick, goat=kid,
goose=gosling, deer=fawn, frog=tadpole, kangaroo=joey, swan=cygnet, owl=owlet, butterfly=caterpillar"""
_HOMES = """bee=hive, bird=nest, spider=web, dog=kennel, horse=stable, rabbit=burrow, lion=den, pig=sty, hen=coop,
snail=shell, beaver=lodge, ant=anthill, bat=cave, fish=water, cow=barn"""
_LEGS = """four/4: dog cat cow sheep pig horse lion mouse rabbit frog goat elephant; two/2: bird hen duck owl penguin goose person;
six/6: ant bee fly beetle butterfly; eight/8: spider scorpion; no/zero/0: snake fish worm"""
_CLASSES = """mammal: dog cat cow whale bat horse lion mouse elephant rabbit bear dolphin; bird: eagle owl penguin duck hen parrot
swan robin; fish: shark salmon trout tuna; insect: ant bee beetle butterfly fly mosquito; reptile: snake lizard turtle
crocodile; amphibian: frog toad newt"""
_DIETS = """cow=grass, panda=bamboo, lion=meat, rabbit=carrots/grass, squirrel=nuts, koala=leaves, bee=nectar, shark=fish,
monkey=bananas/fruit, horse=hay/grass, cat=mice/fish, spider=flies, anteater=ants, mouse=cheese/seeds"""
_HABITATS = """ocean/sea: whale shark dolphin octopus; desert: camel scorpion; forest: bear fox squirrel; jungle: monkey
tiger parrot; pond: frog newt; farm: cow hen pig; river: otter hippo"""
_COLOURS = """yellow: banana lemon canary; red: tomato strawberry cherry ruby; green: frog lime cucumber pea; orange: carrot
pumpkin tangerine; white: swan snowflake; black: crow raven; pink: flamingo pig; purple: plum aubergine;
grey/gray: elephant dolphin; blue: sapphire; brown: chestnut walnut"""
_COLOURS_THE = "blue: sky sea; green: grass; white: snow milk; black: coal; yellow: sun; red: blood"
_TASTES = (
    "sweet: sugar honey candy jam; sour: lemon_juice vinegar; salty: salt sea_water; bitter: coffee; hot/spicy: chili"
)
_FOODS_COUNTED = """fruit: apple pear banana cherry plum peach grape mango orange lemon; vegetable: carrot potato onion
cabbage cucumber leek turnip"""
_FOODS = "drink: juice coffee tea lemonade; grain: rice wheat barley; dairy food: cheese butter yogurt"
_OPPOSITES = """hot=cold, big=small/little, tall=short, fast=slow, old=young/new, happy=sad/unhappy, good=bad, up=down,
day=night, wet=dry, hard=soft/easy, rich=poor, full=empty, open=closed, light=dark/heavy, loud=quiet, strong=weak, thick=thin,
early=late, clean=dirty, near=far, high=low, long=short, sharp=blunt/dull, deep=shallow, wide=narrow, first=last,
black=white, inside=outside, win=lose, buy=sell, push=pull, love=hate, sweet=sour/bitter, summer=winter, north=south, east=west,
brave=cowardly/afraid, friend=enemy, begin=end, cheap=expensive, rough=smooth, noisy=quiet, awake=asleep, alive=dead,
polite=rude, laugh=cry, remember=forget"""
_PLURALS = """mouse=mice, child=children, foot=feet, tooth=teeth, goose=geese, man=men, woman=women, person=people, leaf=leaves,
knife=knives, wolf=wolves, box=boxes, baby=babies, potato=potatoes, city=cities, bus=buses"""
_PASTS = """go=went, eat=ate, see=saw, run=ran, buy=bought, sing=sang, swim=swam, write=wrote, drink=drank, give=gave, take=took,
come=came, think=thought, catch=caught, teach=taught, fly=flew, grow=grew, know=knew, speak=spoke, break=broke, make=made,
find=found, sleep=slept, win=won, tell=told, fall=fell, drive=drove, ride=rode, begin=began, build=built"""
_WORKPLACES = """teacher=school, nurse=hospital, baker=bakery, farmer=farm, cook=kitchen/restaurant, pilot=plane/airport,
sailor=ship, judge=court, actor=theatre/theater, librarian=library, scientist=laboratory/lab, miner=mine, mechanic=garage,
gardener=garden, waiter=restaurant, soldier=army, banker=bank, painter=studio, monk=monastery"""
_DUTIES = """baker=bakes bread, teacher=teaches children, farmer=grows food, pilot=flies planes, barber=cuts hair, doctor=treats sick people,
tailor=makes clothes, plumber=fixes pipes, firefighter=puts out fires, carpenter=builds with wood, butcher=sells meat,
postman=brings letters, author=writes books, singer=sings songs, dentist=looks after teeth, fisherman=catches fish,
shepherd=looks after sheep, builder=builds houses, cook=prepares meals, mechanic=repairs cars"""
_TOOLS = """hammer=hit nails, saw=cut wood, broom=sweep floors, needle=sew clothes, spoon=eat soup, pen=write, key=open locks,
spade=dig holes, scissors=cut paper, brush=paint, ladder=climb up, clock=tell the time, thermometer=measure heat,
umbrella=keep off the rain, lamp=give light, oven=bake food, fridge=keep food cold, kettle=boil water, towel=dry things,
soap=wash things, pillow=rest the head, telescope=see the stars, map=find the way, bucket=carry water, rope=tie things,
comb=tidy hair, ruler=measure length, scales=measure weight, axe=chop wood, camera=take photos"""
_MATERIALS = """glass: window bottle mirror; wood: table door chair; paper: book newspaper; wool: jumper scarf; metal: coin nail key;
leather: shoe belt saddle; rubber: tyre balloon; wax: candle; brick: wall chimney; cotton: shirt; clay: flowerpot"""
_SENSES = """see=eyes, hear=ears, smell=nose, taste=tongue, walk=legs/feet, think=brain, breathe=lungs, chew=teeth,
write=hand/hands, touch=fingers/skin"""
_COUNTS = """days in a week=seven/7, months in a year=twelve/12, minutes in an hour=sixty/60, hours in a day=twenty-four/24,
seasons in a year=four/4, legs on a chair=four/4, fingers on a hand=five/5, wheels on a bicycle=two/2, wheels on a car=four/4,
sides on a triangle=three/3, sides on a square=four/4, letters in the alphabet=twenty-six/26, strings on a violin=four/4,
eggs in a dozen=twelve/12, players in a football team=eleven/11, arms on an octopus=eight/8, wheels on a tricycle=three/3,
eyes on a face=two/2, years in a century=one hundred/100/hundred, corners on a cube=eight/8, sides on a hexagon=six/6,
planets around the sun=eight/8, days in April=thirty/30"""
_SPORTS = """tennis=racket, football=ball, golf=club, baseball=bat, hockey=stick, archery=bow, fencing=sword, cycling=bicycle/bike,
fishing=rod, skating=skates, chess=board, darts=dartboard"""


def _relation(name: str, pairs: dict[str, tuple[str, ...]], statements: str, questions: str, clause: str) -> Relation:
    return Relation(name, pairs, tuple(statements.split("|")), tuple(questions.split("|")), clause)


@lru_cache(maxsize=1)
def relations() -> dict[str, Relation]:
    """All relations by name."""
    table = (
        _relation("capital", _table(_CAPITALS), "The capital of {s} is {v}.|{v} is the capital of {s}.",
                  "What is the capital of {s}?|Which city is the capital of {s}?|Name the capital of {s}.",
                  "what the capital of {s} is"),
        _relation("continent", _groups(_CONTINENTS), "{s} is in {v}.|{s} lies in {v}.",
                  "Which continent is {s} in?|Where in the world is {s}?|On which continent is {s}?",
                  "which continent {s} is in"),
        _relation("language", _groups(_LANGUAGES), "People in {s} speak {v}.|In {s} people speak {v}.",
                  "Which language do people speak in {s}?|What do people speak in {s}?|Name the language of {s}.",
                  "which language people speak in {s}"),
        _relation("sound", _table(_SOUNDS, True), "{S} {v}.", "What sound does {s} make?|What noise does {s} make?|How does {s} sound?",
                  "what sound {s} makes"),
        _relation("baby", _table(_BABIES, True), "The young of {s} is called a {v}.|A {v} is the young of {s}.",
                  "What is the young of {s} called?|What do we call the baby of {s}?|Name the young of {s}.",
                  "what the young of {s} is called"),
        _relation("home", _table(_HOMES, True), "{S} lives in a {v}.|The home of {s} is a {v}.",
                  "What is the home of {s}?|What does {s} live in?|Name the home of {s}.", "what {s} lives in"),
        _relation("legs", _groups(_LEGS, True), "{S} has {v} legs.", "How many legs does {s} have?|What number of legs does {s} have?|Count the legs of {s}.",
                  "how many legs {s} has"),
        _relation("class", _groups(_CLASSES, True), "{S} is a kind of {v}.|{S} belongs to the {v} group.",
                  "What kind of animal is {s}?|Which animal group is {s} in?|Which group does {s} belong to?",
                  "what kind of animal {s} is"),
        _relation("diet", _table(_DIETS, True), "{S} eats {v}.|{S} likes to eat {v}.",
                  "What does {s} eat?|What does {s} like to eat?|What food does {s} eat?", "what {s} eats"),
        _relation("habitat", _groups(_HABITATS, True), "{S} lives in the {v}.|You can find {s} in the {v}.",
                  "Where does {s} live?|Where can I find {s}?|In what kind of place does {s} live?", "where {s} lives"),
        _relation("colour", _groups(_COLOURS, True), "{S} is {v}.|The colour of {s} is {v}.",
                  "What colour is {s}?|What is the colour of {s}?|Name the colour of {s}.", "what colour {s} is"),
        _relation("colour of", {f"the {k}" if k in ("sky", "sea", "sun") else k: v for k, v in _groups(_COLOURS_THE).items()},
                  "{S} is {v}.|The colour of {s} is {v}.",
                  "What colour is {s}?|What is the colour of {s}?|Name the colour of {s}.", "what colour {s} is"),
        _relation("taste", _groups(_TASTES), "{S} tastes {v}.|The taste of {s} is {v}.",
                  "What does {s} taste like?|How does {s} taste?|What is the taste of {s}?", "how {s} tastes"),
        _relation("food group", _groups(_FOODS_COUNTED, True) | _groups(_FOODS), "{S} is a kind of {v}.|{S} is a {v}.",
                  "What kind of food is {s}?|Which food group is {s} in?|What sort of food is {s}?",
                  "what kind of food {s} is"),
        _relation("opposite", _table(_OPPOSITES), "The opposite of {s} is {v}.|{V} is the opposite of {s}.",
                  "What is the opposite of {s}?|Which word means the opposite of {s}?|Give me the opposite of {s}.",
                  "what the opposite of {s} is"),
        _relation("plural", _table(_PLURALS), "The plural of {s} is {v}.|One {s}, two {v}.",
                  "What is the plural of {s}?|What do we call more than one {s}?|Give me the plural of {s}.",
                  "what the plural of {s} is"),
        _relation("past", _table(_PASTS), "The past tense of {s} is {v}.|Today I {s}, yesterday I {v}.",
                  "What is the past tense of {s}?|Give me the past tense of {s}.|How do you say {s} in the past?",
                  "what the past tense of {s} is"),
        _relation("workplace", _table(_WORKPLACES, True), "{S} works in a {v}.|The workplace of {s} is a {v}.",
                  "Where does {s} work?|What is the workplace of {s}?|In what place does {s} work?", "where {s} works"),
        _relation("duty", _table(_DUTIES, True), "{S} {v}.|The job of {s}: {s} {v}.",
                  "What does {s} do?|What is the job of {s}?|What does {s} do at work?", "what {s} does"),
        _relation("tool", {("scissors" if k == "a scissors" else "scales" if k == "a scales" else "soap" if k == "a soap" else k): v
                           for k, v in _table(_TOOLS, True).items()}, "We use {s} to {v}.|You use {s} to {v}.",
                  "What do we use {s} for?|What do people use {s} for?|Why would I need {s}?", "what to use {s} for"),
        _relation("material", _groups(_MATERIALS, True), "{S} is made of {v}.|People make {s} from {v}.",
                  "What is {s} made of?|What material is {s} made of?|What do people make {s} from?", "what {s} is made of"),
        _relation("sense", _table(_SENSES), "We {s} with the {v}.|You {s} with your {v}.",
                  "What do we {s} with?|Which part of the body do we {s} with?|What do you need to {s}?", "what we {s} with"),
        _relation("count", _table(_COUNTS), "There are {v} {s}.|The number of {s} is {v}.",
                  "How many {s} are there?|What is the number of {s}?|Count the {s}.", "how many {s} there are"),
        _relation("sport", _table(_SPORTS), "You need a {v} for {s}.|For {s} you need a {v}.",
                  "What do you need for {s}?|What do people use for {s}?|Name the thing you need for {s}.",
                  "what you need for {s}"),
    )  # fmt: skip
    return {relation.name: relation for relation in table}


def state(relation: Relation, subject: str, value: str, wording: int = 0) -> str:
    """The sentence that says `value` of `subject`."""
    form = relation.statements[wording % len(relation.statements)]
    text = form.format(s=subject, S=subject, v=value, V=value)
    text = re.sub(r"\ba ([aeiou])", r"an \1", text)
    return text[0].upper() + text[1:]

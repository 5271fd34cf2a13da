"""Several answers to one prompt with a score or a rank each: UltraFeedback, Nectar, distilabel, Stack Exchange."""

from collections.abc import Iterable, Iterator
from typing import Any

from workbench.collect.conversation import answer_text, prompt_text
from workbench.collect.converters.records import Origin, Record, comparison
from workbench.collect.row import Row, is_empty, number

LISTS = ("completions", "generations", "answers", "responses", "candidates", "outputs")
TEXTS = ("response", "answer", "text", "content", "output", "completion", "generation")
# The mean over UltraFeedback's four aspects before its overall score, of which some tens are known to be ones.
SCORES = (
    "fine_grained_score",
    "overall_score",
    "score",
    "rating",
    "pm_score",
    "reward",
    "ratings",
    "scores",
    "rewards",
)
RANKS = ("rank", "ranks", "ranking")  # the lower the better
MODELS = ("models", "generation_models", "model_names")


def is_ranked(row: Row) -> bool:
    """Whether the row has a list of answers with scores in them or in a list beside it."""
    column = _column(row)
    if column is None:
        return False
    return (
        all(isinstance(each, dict) for each in row.peek(column))
        and any(_named(each, (*SCORES, *RANKS)) for each in row.peek(column))
    ) or _beside(row, column) is not None


def _column(row: Row) -> str | None:
    return next((name for name in LISTS if isinstance(row.peek(name), list) and len(row.peek(name)) > 1), None)


def _named(values: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """Which of these names an object has, whatever its separators are."""
    spelled = {str(name).lower().replace("-", "_"): name for name in values if not is_empty(values[name])}
    return next((spelled[name] for name in names if name in spelled), None)


def _beside(row: Row, column: str) -> str | None:
    """The list of scores that stands beside the list of answers."""
    size = len(row.peek(column))
    lists = (name for name in (*SCORES, *RANKS) if isinstance(row.peek(name), list))
    return next((name for name in lists if len(row.peek(name)) == size), None)


def ranked(row: Row, origin: Origin) -> list[Record]:
    """A ranking by the scores, equal ones sharing a place. Answers without a score are left aside."""
    column = _column(row)
    if column is None:
        raise ValueError("there is no list of two or more answers")
    answers, beside = row.get(column), _beside(row, column)
    scores = [_own_score(each) for each in answers] if beside is None else _scores(row.get(beside), beside)
    texts = [_text(each, n) for n, each in enumerate(answers, 1)]
    models = _models(row, answers)
    score_of: dict[str, tuple[float, str]] = {}  # a text said twice counts once
    for text, score, model in zip(texts, scores, models, strict=True):
        if score is not None:
            score_of.setdefault(text, (score, model))
    if len(score_of) < 2:
        raise ValueError("fewer than two answers have a score, so there is nothing to choose")
    order = sorted({score for score, _ in score_of.values()}, reverse=True)
    groups = tuple(
        tuple(place for place, (score, _) in enumerate(score_of.values(), 1) if score == each) for each in order
    )
    names = [model for _, model in score_of.values()]
    return [comparison(row, origin, prompt_text(row), list(score_of), groups=groups, models=names)]


def _scores(values: list[Any], name: str) -> list[float | None]:
    numbers = [number(value) for value in values]
    return [None if value is None else -value for value in numbers] if name in RANKS else numbers


def _own_score(answer: Any) -> float | None:
    """The score in an answer's own object, the negative of its rank where it has that."""
    name = _named(answer, (*SCORES, *RANKS)) if isinstance(answer, dict) else None
    return None if name is None else _scores([answer[name]], str(name).lower())[0]


def _text(answer: Any, place: int) -> str:
    if isinstance(answer, dict):
        name = _named(answer, TEXTS)
        answer = answer[name] if name else None
    return answer_text(answer, f"answer {place}")


def _models(row: Row, answers: list[Any]) -> list[str]:
    names = [str(each.get("model") or "import") if isinstance(each, dict) else "import" for each in answers]
    listed = next((row.get(name) for name in MODELS if isinstance(row.peek(name), list)), None)
    return (
        [str(each) for each in listed] if listed and len(listed) == len(names) and set(names) == {"import"} else names
    )


def helpsteer(items: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """HelpSteer's rows, one answer each, gathered by their prompt; an answer counts by its helpfulness."""
    prompts: dict[str, tuple[int, dict[str, Any]]] = {}
    for line, values in items:
        row = Row(values)
        prompt = row.peek("prompt")
        entry = {"prompt": prompt, "completions": []}
        _, row_of_prompt = prompts.setdefault(prompt if isinstance(prompt, str) else f"line {line}", (line, entry))
        row_of_prompt["completions"].append({"response": row.peek("response"), "score": row.peek("helpfulness")})
    yield from prompts.values()

"""What preference learning reads: rankings, whole or taken apart into pairs."""

from typing import Any

from workbench.records import split_of
from workbench.store import Store


def preference_rows(store: Store) -> list[dict[str, Any]]:
    """One row per pair, oldest judgement first: prompt, chosen, rejected, split, id (of the comparison), weight, simulated.

    A ranking of k answers gives up to k(k-1)/2 pairs, which share a weight of 1 so that a long ranking does
    not outvote a short one. Ties give no pair, and neither do two answers with the same words: there is
    nothing to learn from them.
    """
    rows = []
    for comparison in store.comparisons():
        pairs = [(better, worse) for better, worse in comparison.pairs() if better.text != worse.text]
        rows += [
            {
                "prompt": comparison.prompt,
                "chosen": better.text,
                "rejected": worse.text,
                "split": split_of(comparison.prompt),
                "id": comparison.id,
                "weight": 1 / len(pairs),
                "simulated": comparison.simulated,
            }
            for better, worse in pairs
        ]
    return rows


def ranking_rows(store: Store) -> list[dict[str, Any]]:
    """One row per comparison, oldest first: prompt, answers, places, split, id, rater, simulated.

    `places` has the place of each answer, 0 for the best; tied answers share one. Of answers with the same words the
    best placed stays; a comparison with fewer than two different answers gives no row.
    """
    rows = []
    for comparison in store.comparisons():
        texts = {response.id: response.text for response in comparison.responses}
        places: dict[str, int] = {}
        for place, group in enumerate(comparison.groups):
            for response_id in group:
                places.setdefault(texts[response_id], place)
        if len(places) < 2:
            continue
        rows.append(
            {
                "prompt": comparison.prompt,
                "answers": list(places),
                "places": list(places.values()),
                "split": split_of(comparison.prompt),
                "id": comparison.id,
                "rater": comparison.rater,
                "simulated": comparison.simulated,
            }
        )
    return rows


def thumb_rows(store: Store) -> list[dict[str, Any]]:
    """One row per answer judged good or bad, oldest judgement first: prompt, completion, label, split, id (of the
    judgement), simulated.

    Where the rater said which answers are acceptable, those are good and the others bad ("both bad" gives two bad
    ones). Otherwise the upper half of a ranking is good and the lower bad, as in the KTO paper (Ethayarajh et al. 2024,
    sec. 4.2); what stands in the middle, a tie of all above all, is neither.
    """
    rows = []
    for comparison in store.comparisons():
        texts = {response.id: response.text for response in comparison.responses}
        labels: dict[str, bool] = {}
        for place, group in enumerate(comparison.groups):
            if comparison.acceptable is not None:
                good = place < comparison.acceptable
            elif 2 * place + 1 != len(comparison.groups):
                good = 2 * place + 1 < len(comparison.groups)
            else:
                continue
            for response_id in group:
                labels.setdefault(texts[response_id], good)  # of answers with the same words the best placed counts
        rows += [
            {
                "prompt": comparison.prompt,
                "completion": text,
                "label": good,
                "split": split_of(comparison.prompt),
                "id": comparison.id,
                "simulated": comparison.simulated,
            }
            for text, good in labels.items()
        ]
    return rows

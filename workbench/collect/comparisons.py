"""What preference learning reads: rankings, whole or taken apart into pairs."""

from workbench.records import split_of
from workbench.store import Store


def preference_rows(store: Store) -> list[dict]:
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


def ranking_rows(store: Store) -> list[dict]:
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

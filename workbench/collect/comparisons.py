"""What preference learning reads: rankings, taken apart into pairs."""

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

"""Rejection sampling: the best of n answers by a reward become demonstrations, for SFT to imitate.

As in Llama 2 (Touvron et al. 2023, sec. 3.2.3). It needs no training of its own: after `collect`, train SFT as always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from workbench.measure.best_of_n import Best, Reward, best_of_n
from workbench.records import Demonstration, Sampling, split_of

if TYPE_CHECKING:
    from workbench.models import Model
    from workbench.store import Store


def collect(
    store: Store,
    model: Model,
    reward: Reward,
    prompts: Sequence[str],
    n: int = 8,
    keep: float = 1.0,
    sampling: Sampling | None = None,
    adapter: str | None = None,
    by: str = "the reward",
    should_stop: Callable[[], bool] | None = None,
) -> list[Demonstration]:
    """Store the best of n answers to each training prompt as a demonstration by "best of n by ...".

    Held-out prompts are left out, and empty answers. Of all, the share `keep` with the highest lead of the best over
    the mean of its n samples stays: where all n are alike, choosing taught nothing. They count as simulated, since
    nobody wrote them. Raises ValueError for a share outside (0, 1] and for n below 2.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be above 0 and at most 1, not {keep}")
    if n < 2:
        raise ValueError(f"n must be at least 2, so that there is a choice; it is {n}")
    texts = [text for text in dict.fromkeys(prompts) if split_of(text) == "train"]
    if not texts:
        return []
    winners = best_of_n(model, texts, reward, n, sampling or Sampling(), adapter, should_stop)
    winners = sorted((b for b in winners if b.text.strip()), key=_lead, reverse=True)
    winners = winners[: round(len(winners) * keep)]
    stored_prompts = store.add_prompts([b.prompt for b in winners], source="rejection sampling")
    return [
        store.add_demonstration(
            prompt.id, best.text, f"best of {n} by {by}", source="rejection sampling", simulated=True
        )
        for prompt, best in zip(stored_prompts, winners, strict=True)
    ]


def _lead(best: Best) -> float:
    return best.reward - sum(best.rewards) / len(best.rewards)

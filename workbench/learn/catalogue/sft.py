"""Everything about SFT but its training, which is learn/methods/sft.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.learn.catalogue.curves import GOLD, KL, Curve, Series
from workbench.learn.catalogue.facts import ANY_SIZE, DEMONSTRATIONS, TINY, Cost, Method, Row
from workbench.learn.catalogue.settings import AnswerArgs

if TYPE_CHECKING:
    from workbench.store import Store


@dataclass(frozen=True, kw_only=True)
class SFTArgs(AnswerArgs):
    """Supervised fine-tuning: raise the probability of the written answers."""


def rows(store: Store, model: str) -> list[Row]:
    from workbench.collect.demonstrations import sft_rows

    return sft_rows(store)


def texts(row: Row) -> dict[str, str]:
    return {"completion": row["completion"]}


METHOD = Method(
    name="sft",
    label="SFT",
    colour="sft",
    line="Imitates your {n:answers}.",
    args=SFTArgs,
    presets={"quick": {"steps": 20}, "normal": {"steps": 40}, "thorough": {"steps": 120}},
    rates=((TINY, 3e-3), (2e8, 1e-3), (2e9, 2e-4), (ANY_SIZE, 1e-4)),
    source=DEMONSTRATIONS,
    unit="answers",
    missing="SFT needs written answers. There are none yet.",
    read=rows,
    texts=texts,
    curves=(
        Curve(
            name="loss",
            title="Loss",
            unit="nats per token",
            sentence="Falls as your answers become likely. Near zero, it has memorised them.",
            series=(Series("loss"),),
            smooth=True,
            low=0.0,
        ),
        Curve(
            name="heldout_loss",
            title="Held-out loss",
            unit="nats per token",
            sentence="The same on answers it never saw. If it rises again, stop: the model is memorising.",
            series=(Series("heldout_loss", low="heldout_loss_low", high="heldout_loss_high"),),
            n="heldout_loss_n",
            low=0.0,
        ),
        KL,
        GOLD,
    ),
    cost=Cost(seconds_per_example=0.0063, seconds_around=3.0),
)

"""Everything about KTO but its training, which is learn/methods/kto.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.learn.catalogue.curves import GOLD, KL, Curve, Line, Series
from workbench.learn.catalogue.dpo import beta
from workbench.learn.catalogue.facts import ANY_SIZE, COMPARISONS, TINY, Cost, Method, Row
from workbench.learn.catalogue.settings import AnswerArgs, SettingError, setting

if TYPE_CHECKING:
    from workbench.store import Store


@dataclass(frozen=True, kw_only=True)
class KTOArgs(AnswerArgs):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024): learns from single answers marked good or bad."""

    batch_size: int = setting(32, "Answers per update; 32 answers correspond to 16 pairs.", "answers", 2, 4096)
    beta: float | None = setting(
        None,
        "Weight of the KL penalty. Lower values let the policy move further. Leave empty for automatic.",
        "",
        1e-4,
        10.0,
    )
    desirable_weight: float | None = setting(
        None, "Weight of good answers. Leave empty to give good and bad answers the same total weight.", "", 0.01, 100.0
    )
    undesirable_weight: float | None = setting(
        None, "Weight of bad answers. Leave empty to give good and bad answers the same total weight.", "", 0.01, 100.0
    )

    def check_together(self) -> None:
        super().check_together()
        if 1 in (self.batch_size, self.micro_batch):
            why = "KTO needs at least 2 answers at once"
            raise SettingError("micro_batch", 1, why)


def rows(store: Store, model: str) -> list[Row]:
    from workbench.collect.comparisons import thumb_rows

    return thumb_rows(store)


def shortage(train: list[Row]) -> str:
    if len({row["label"] for row in train}) == 2:
        return ""
    other = "bad" if train[0]["label"] else "good"
    return f"KTO needs both good and bad answers to train on; none is {other}. Judge some as {other}."


def texts(row: Row) -> dict[str, str]:
    return {"completion": row["completion"]}


def show(row: Row, texts: dict[str, str]) -> dict[str, str]:
    return {"chosen" if row["label"] else "rejected": texts["completion"]}


METHOD = Method(
    name="kto",
    label="KTO",
    colour="dpo",
    line="Learns from {n:answers} marked good or bad.",
    args=KTOArgs,
    presets={"quick": {"steps": 20}, "normal": {"steps": 40}, "thorough": {"steps": 100}},
    rates=((TINY, 4e-3), (2e8, 3e-4), (2e9, 5e-5), (ANY_SIZE, 2e-5)),
    by_size={"beta": beta},
    source=COMPARISONS,
    unit="marked answers",
    missing="KTO needs answers marked good or bad. There are none yet.",
    read=rows,
    shortage=shortage,
    texts=texts,
    show=show,
    curves=(
        Curve(
            name="loss",
            title="Loss",
            unit="0 to 1, weighted",
            sentence="Starts at half the weights; falls as good answers become more likely and bad ones less.",
            series=(Series("loss"),),
            smooth=True,
            low=0.0,
        ),
        Curve(
            name="accuracy",
            title="Accuracy on held-out answers",
            unit="% of held-out answers",
            sentence="How often a good answer gained more than the average held-out answer, or a bad one less.",
            series=(Series("accuracy", low="accuracy_low", high="accuracy_high"),),
            lines=(Line(0.5, "guessing"),),
            percent=True,
            n="accuracy_n",
            low=0.0,
            high=1.0,
        ),
        Curve(
            name="rewards",
            title="Rewards of good and bad answers",
            unit="reward, nats",
            sentence="Both lines may fall; what matters is that the gap between them widens.",
            series=(Series("rewards_chosen", "good"), Series("rewards_rejected", "bad")),
            smooth=True,
        ),
        KL,
        GOLD,
    ),
    cost=Cost(seconds_per_example=0.02, seconds_around=5.0, sequences=2, copies=True),
)

"""Everything about DPO but its training, which is learn/methods/dpo.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.learn.catalogue.curves import GOLD, KL, PAIR_ACCURACY, Curve, Line, Series
from workbench.learn.catalogue.facts import ANY_SIZE, COMPARISONS, TINY, Cost, Method, Row
from workbench.learn.catalogue.settings import AnswerArgs, SettingError, setting
from workbench.settings import Choice, short_count

if TYPE_CHECKING:
    from workbench.store import Store


@dataclass(frozen=True, kw_only=True)
class DPOArgs(AnswerArgs):
    """Direct preference optimisation (Rafailov et al. 2023)."""

    steps: int = setting(40, "Number of updates.", "updates", 1, 1_000_000)
    beta: float | None = setting(
        None,
        "Weight of the KL penalty. Lower values let the policy move further. Leave empty for automatic.",
        "",
        1e-4,
        10.0,
    )
    loss: str = setting(
        "sigmoid",
        "sigmoid is DPO; ipo resists overconfidence; hinge ignores pairs that are already clear; robust assumes that some votes are wrong.",
        choices=("sigmoid", "ipo", "hinge", "robust"),
    )
    label_smoothing: float = setting(0.0, "Expected share of wrong votes (only with loss robust).", "share", 0.0, 0.49)

    def check_together(self) -> None:
        super().check_together()
        if self.loss == "robust" and self.label_smoothing == 0.0:
            raise SettingError("loss", "robust", "needs label_smoothing, the share of votes expected to be wrong")
        if self.loss != "robust" and self.label_smoothing != 0.0:
            raise SettingError("label_smoothing", self.label_smoothing, "is used only with loss=robust")


def beta(parameters: int | None) -> Choice:
    """The default beta: the paper's, but for a tiny model, whose large steps need a shorter leash."""
    if parameters is not None and parameters <= TINY:
        return Choice(
            0.5, f"for {short_count(parameters)} parameters; with lower values so small a model drifts too far"
        )
    return Choice(0.1, "as in the paper")


def rows(store: Store, model: str) -> list[Row]:
    from workbench.collect.comparisons import preference_rows

    return preference_rows(store)


def texts(row: Row) -> dict[str, str]:
    return {"chosen": row["chosen"], "rejected": row["rejected"]}


METHOD = Method(
    name="dpo",
    label="DPO",
    colour="dpo",
    line="Learns directly from {n:pairs}, without a reward model.",
    args=DPOArgs,
    presets={"quick": {"steps": 20}, "normal": {"steps": 40}, "thorough": {"steps": 100}},
    rates=((TINY, 4e-3), (2e8, 3e-4), (2e9, 5e-5), (ANY_SIZE, 2e-5)),
    by_size={"beta": beta},
    source=COMPARISONS,
    unit="pairs",
    missing="DPO needs ranked pairs. There are none yet.",
    read=rows,
    texts=texts,
    curves=(
        Curve(
            name="loss",
            title="Loss",
            unit="nats per pair",
            sentence="Falls as the model learns to tell chosen from rejected answers; 0.69 is a coin toss.",
            series=(Series("loss"),),
            lines=(Line(0.6931, "coin toss"),),
            smooth=True,
            low=0.0,
        ),
        PAIR_ACCURACY,
        Curve(
            name="rewards",
            title="Rewards of chosen and rejected",
            unit="reward, nats",
            sentence="Both lines may fall; what matters is that the gap between them widens.",
            series=(Series("rewards_chosen", "chosen"), Series("rewards_rejected", "rejected")),
            smooth=True,
        ),
        KL,
        GOLD,
    ),
    cost=Cost(seconds_per_example=0.023, seconds_around=5.0, sequences=2, copies=True),
)

"""What the methods that train by gradient share: they need rows to tell when to stop."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from cluster.folds import text_folds
from cluster.outcome import BoolMatrix, OutcomeMatrix
from cluster.routers.context import ALONE, FitContext
from cluster.routers.means import require_rewards
from cluster.routers.router import Method, Router, RouterState

# One row an epoch, split and metric: what the pictures of training are drawn from.
HISTORY_SCHEMA: dict[str, type[pl.DataType]] = {
    "epoch": pl.Int64,
    "split": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
}
# A tenth is held out where no validation rows are given, as the lake's own split does.
HELD_OUT_FOLDS = 10


@dataclass(frozen=True)
class Trained:
    """What training came to.

    Attributes:
        router: of the checkpoint that was best on validation.
        history: in `HISTORY_SCHEMA`; `split` is `train` or `validation`.
    """

    router: Router
    history: pl.DataFrame


def training_table(histories: Mapping[str, pl.DataFrame]) -> list[dict[str, Any]]:
    """One row a training: its epochs, and when validation was best by score and by loss.

    `histories`: name → how the training went, in `HISTORY_SCHEMA`. A figure that was not told is
    None.
    """
    return [
        {"training": name, "epochs": history["epoch"].max()}
        | _best(history, metric="score", highest=True)
        | _best(history, metric="loss", highest=False)
        for name, history in histories.items()
    ]


def _best(history: pl.DataFrame, *, metric: str, highest: bool) -> dict[str, Any]:
    """The best value of a validation metric and its epoch, the first of equal ones."""
    told = history.filter(
        (pl.col("split") == "validation")
        & (pl.col("metric") == metric)
        & pl.col("value").is_finite()
    ).sort("value", descending=highest, maintain_order=True)
    first = told.row(0, named=True) if told.height else {"value": None, "epoch": None}
    word = f"{'best' if highest else 'least'}_validation_{metric}"
    return {word: first["value"], f"{word}_epoch": first["epoch"]}


class GradientMethod(Method):
    """A method that trains by gradient: checkpoint and stopping are chosen on validation rows."""

    by_gradient: ClassVar[bool] = True

    @abstractmethod
    def train(
        self,
        outcomes: OutcomeMatrix,
        *,
        validation: OutcomeMatrix,
        seed: int,
        context: FitContext = ALONE,
    ) -> Trained:
        """Train on `outcomes`; `validation` alone says when to stop and what to keep.

        Both have the same candidates, and at least one row with a reward.
        """

    def reopened(
        self,
        state: RouterState,
        *,
        candidates: tuple[str, ...],
        context: FitContext,  # noqa: ARG002 - for the methods that remember vectors
    ) -> Router:
        """A router that was trained in another process, as one trained in this one would be."""
        return self.router.from_state(state, candidates=candidates)

    def fit(self, outcomes: OutcomeMatrix, *, seed: int, context: FitContext = ALONE) -> Router:
        """Hold a tenth of the texts out as validation, and train on the rest.

        Raises:
            InputError: no rows, or a candidate without a reward.
        """
        require_rewards(outcomes)
        rows, validation = hold_out(outcomes)
        return self.train(rows, validation=validation, seed=seed, context=context).router


def hold_out(outcomes: OutcomeMatrix) -> tuple[OutcomeMatrix, OutcomeMatrix]:
    """Rows to train on and rows to validate on, as `held_out_rows` says.

    Where that is none every row does both.
    """
    held_out = held_out_rows(outcomes)
    if held_out.any():
        return outcomes.take(~held_out), outcomes.take(held_out)
    return outcomes, outcomes


def held_out_rows(outcomes: OutcomeMatrix) -> BoolMatrix:
    """(n_queries,): a tenth to validate on, by the texts' hash.

    None where of a handful of rows the hash puts all on one side, or all that a candidate has been
    rewarded on.
    """
    folds = text_folds(outcomes.texts, n_folds=HELD_OUT_FOLDS, purpose="early stopping")
    held_out: BoolMatrix = folds == 0
    taught = outcomes.mask[~held_out].any(axis=0).all()
    return held_out if taught and outcomes.mask[held_out].any() else np.zeros_like(held_out)

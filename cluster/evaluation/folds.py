"""Who was fitted on what, and what routers say about rows they were not fitted on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.router import Prediction, Router


@dataclass(frozen=True)
class Fold:
    """One round of fitting and measuring.

    Attributes:
        train: what the round's routers and baselines are fitted on.
        rows: (n,) positions, in the outcomes that are measured, of the rows the round measures.
    """

    train: OutcomeMatrix
    rows: npt.NDArray[np.int64]


def predict(router: Router, *, outcomes: OutcomeMatrix) -> Prediction:
    """What a router says, in the outcomes' columns; NaN for candidates it does not know.

    A router that reads an answer gets that of the candidate it reads.

    Raises:
        InputError: the router may choose a candidate without outcomes, or reads answers that are
            not there.
    """
    _check_candidates(router, outcomes=outcomes)
    found = _asked(router, outcomes=outcomes)
    columns = [outcomes.candidates.index(name) for name in router.candidates]
    reward = np.full(outcomes.reward.shape, np.nan)
    tokens = reward.copy()
    reward[:, columns], tokens[:, columns] = found.reward, found.completion_tokens
    return Prediction(reward, tokens)


def pool(folds: Sequence[Fold], parts: Sequence[Prediction]) -> Prediction:
    """One prediction of what each fold's router said of the fold's rows, in the rows' own order.

    Args:
        folds: whose rows together are 0, 1, … n - 1, in any order.
        parts: of each fold, (n_rows, n_candidates).
    """
    rows = np.concatenate([fold.rows for fold in folds])
    place = np.argsort(rows)
    assert np.array_equal(rows[place], np.arange(len(rows))), "every row is in one fold"
    return Prediction(
        np.concatenate([part.reward for part in parts])[place],
        np.concatenate([part.completion_tokens for part in parts])[place],
    )


def pool_routes(
    folds: Sequence[Fold],
    outcomes: OutcomeMatrix,
    *,
    rule: Callable[[OutcomeMatrix, OutcomeMatrix], FloatMatrix],
) -> FloatMatrix:
    """(n_queries, n_candidates): a rule fitted on each fold's train, asked about its rows."""
    routes = np.full(outcomes.reward.shape, np.nan)
    for fold in folds:
        routes[fold.rows] = rule(fold.train, outcomes.take(fold.rows))
    return routes


def mean_over_folds(
    folds: Sequence[Fold], *, value: Callable[[OutcomeMatrix], FloatMatrix]
) -> FloatMatrix:
    """(n_candidates,): a value of each fold's train, weighted by the rows the fold measures."""
    values = np.stack([value(fold.train) for fold in folds])
    weights = np.array([len(fold.rows) for fold in folds], dtype=np.float64)
    mean: FloatMatrix = np.average(values, axis=0, weights=weights)
    return mean


def keep_rows(folds: Sequence[Fold], kept: npt.NDArray[np.bool_]) -> list[Fold]:
    """The folds when only the rows in `kept`, (n,), are measured; those left empty fall out."""
    position = np.cumsum(kept) - 1
    cut = [Fold(fold.train, position[fold.rows[kept[fold.rows]]]) for fold in folds]
    return [fold for fold in cut if len(fold.rows)]


def check_folds(folds: Sequence[Fold], *, outcomes: OutcomeMatrix) -> None:
    """Refuse folds that do not measure every row once.

    Raises:
        InputError: as the harness says.
    """
    rows = np.concatenate([fold.rows for fold in folds]) if folds else np.zeros(0, dtype=np.int64)
    if not np.array_equal(np.sort(rows), np.arange(len(outcomes))):
        raise InputError(
            f"the folds measure {len(rows)} rows, expected each of the {len(outcomes)} once"
        )


def check_reads(
    reads: Mapping[str, str], *, methods: Mapping[str, Prediction], outcomes: OutcomeMatrix
) -> None:
    """Refuse an answer read of nobody.

    Raises:
        InputError: the method or the candidate is not there.
    """
    for method, candidate in reads.items():
        if method not in methods:
            raise InputError(f"'{method}' reads an answer, but no prediction of it was given")
        if candidate not in outcomes.candidates:
            raise InputError(
                f"router '{method}' reads the answer of '{candidate}', which has no outcomes here; "
                f"here are {', '.join(outcomes.candidates)}"
            )


def _check_candidates(router: Router, *, outcomes: OutcomeMatrix) -> None:
    for candidate in router.candidates:
        if candidate not in outcomes.candidates:
            raise InputError(
                f"router '{router.method}' may choose '{candidate}', which has no outcomes here; "
                f"here are {', '.join(outcomes.candidates)}: collect it, or train without it"
            )


def _asked(router: Router, *, outcomes: OutcomeMatrix) -> Prediction:
    name = router.reads_answer_of
    if not name:
        return router.predict(outcomes.texts)
    return router.predict_after(
        outcomes.texts, answers_of(name, outcomes=outcomes, method=router.method)
    )


def answers_of(candidate: str, *, outcomes: OutcomeMatrix, method: str) -> pl.Series:
    """(n_queries,): a candidate's answers, for a method that reads them.

    Raises:
        InputError: one of them is not there.
    """
    if outcomes.answers is None or candidate not in outcomes.answers.columns:
        raise InputError(
            f"router '{method}' reads the answer of '{candidate}', and there are no answers of "
            "it here: read the outcomes with answers, or collect them"
        )
    answers = outcomes.answers[candidate]
    missing = np.flatnonzero(answers.is_null().to_numpy())
    if len(missing):
        query = outcomes.queries["query_id"][int(missing[0])]
        raise InputError(
            f"router '{method}' reads the answer of '{candidate}', which is missing for query "
            f"'{query}' and {len(missing) - 1} others: collect them, or leave the router out"
        )
    return answers

"""What a lake knows of the rows a calibration is about: rewards, and what the router has seen."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cluster.errors import InputError
from cluster.guarantee.rows import SPLIT, Rows
from cluster.guarantee.spec import CalibrateSpec
from cluster.jobs.kept_outcomes import fitted_on
from cluster.lake.lake import Lake
from cluster.lake.outcomes import LEARNED, read_outcomes
from cluster.lake.tables import QUERIES, SCORERS
from cluster.normalisation import TO_UNIT
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.checkpoint import Checkpoint
from cluster.routers.means import column_means
from cluster.routers.near_duplicates import near_duplicates

LOG = logging.getLogger("signalbox.calibrate")


@dataclass(frozen=True)
class Training:
    """Rows that the router's makers knew.

    Attributes:
        texts: (n_queries,).
        reward: (n_queries, n_candidates), NaN where missing.
    """

    texts: pl.Series
    reward: FloatMatrix


def bounded_outcomes(
    spec: CalibrateSpec, *, lake: Lake, candidates: Sequence[str]
) -> OutcomeMatrix:
    """All rows of the dataset, columns as the router has them.

    Raises:
        InputError: as `read_outcomes`, or rewards of this kind have no bounds.
    """
    outcomes = read_outcomes(
        lake,
        dataset=spec.dataset,
        scorer=spec.scorer,
        normalisation=spec.normalisation,
        temperature=spec.temperature,
        candidates=candidates,
        versions=spec.inputs,
    )
    if spec.normalisation == "z_score":
        raise InputError(f"z-scores have no bounds, and a promise needs some; use {TO_UNIT}")
    if spec.normalisation == "none" and has_no_bounds(spec.scorer, lake=lake):
        raise InputError(
            f"rewards of scorer '{spec.scorer}' come from a reward model and have no bounds, "
            f"and a promise needs some; use {TO_UNIT}"
        )
    if spec.normalisation in ("min_max", "sigmoid") and not len(outcomes.on_splits(LEARNED)):
        raise InputError(
            f"dataset '{spec.dataset}' has no train or validation rows to take the scale of "
            f"--normalisation {spec.normalisation} from; use rank, or none for rewards of 0 to 1"
        )
    return outcomes


def has_no_bounds(scorer: str, *, lake: Lake) -> bool:
    """Whether a scorer's rewards can be any number: a reward model's, or a blend of such.

    Of what was imported nothing is known: its rewards are checked as they are.
    """
    named = (pl.col("name") == scorer) | (pl.col("scorer_id") == scorer)
    specs = lake.read(SCORERS).filter(named)["spec"]
    return any(_is_unbounded(json.loads(spec), lake=lake) for spec in specs)


def _is_unbounded(spec: Mapping[str, Any], *, lake: Lake) -> bool:
    if spec.get("scorer") != "weighted":
        return spec.get("scorer") == "reward_model"
    scaling = spec.get("normalise")
    if scaling == "none":
        return any(has_no_bounds(name, lake=lake) for name in spec.get("of", {}))
    return scaling == "z_score"


def training_rows(spec: CalibrateSpec, *, outcomes: OutcomeMatrix, lake: Lake) -> Training:
    """Train and validation rows of the dataset, or where it has none what the router learned from.

    Nothing, where that is not kept, or is about other candidates.
    """
    learned = outcomes.on_splits(LEARNED)
    learned = learned.take(np.asarray(learned.mask.any(axis=1)))
    if len(learned):
        return Training(learned.texts, learned.reward)
    kept = fitted_on(spec.checkpoint, lake=lake)
    if kept is None or not set(outcomes.candidates) <= set(kept.columns):
        return Training(pl.Series([], dtype=pl.String), np.zeros((0, len(outcomes.candidates))))
    texts = _queries(spec, lake=lake).select("query_id", "text").collect()
    rows = kept.join(texts, on="query_id", how="inner")
    reward = rows.select(outcomes.candidates).fill_null(float("nan")).to_numpy()
    return Training(rows["text"], reward)


def best_on_train(training: Training, *, candidates: tuple[str, ...]) -> str:
    """Who has the highest mean reward on train: over queries, as the promise is.

    Raises:
        InputError: nothing is known of it.
    """
    means = column_means(training.reward) if len(training.texts) else np.array([])
    if not np.isfinite(means).any():
        raise InputError(
            "nothing tells which candidate is the best on train, for there are no train rows here: "
            "name the one whose quality is to be kept with --reference"
        )
    return candidates[int(np.nanargmax(means))]


def seen_rows(
    spec: CalibrateSpec, *, rows: OutcomeMatrix, checkpoint: Checkpoint, lake: Lake
) -> Rows:
    """(n_queries,): whether a row nearly repeats what the router was trained or promoted by.

    Trained and selected by: the rows it was fitted on. Promoted by: the test rows of its dataset.
    Where what it was fitted on is not kept, all rows of its dataset but its calibration rows.
    """
    queries = _queries(spec, lake=lake).select("query_id", "dataset", "split", "text")
    own = pl.col("dataset") == checkpoint.meta.label.get("dataset", spec.dataset)
    kept = fitted_on(spec.checkpoint, lake=lake)
    if kept is None:
        LOG.warning("%s: what it was fitted on is not kept; its dataset stands in", spec.checkpoint)
        known = queries.filter(own & (pl.col("split") != SPLIT))
    else:
        ids = kept["query_id"].implode()
        known = queries.filter(pl.col("query_id").is_in(ids) | (own & (pl.col("split") == "test")))
    return near_duplicates(rows.texts, held_out=known.select("text").collect()["text"])


def _queries(spec: CalibrateSpec, *, lake: Lake) -> pl.LazyFrame:
    return lake.scan(QUERIES, version=spec.inputs.get(QUERIES.name))

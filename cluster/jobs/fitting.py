"""What training and evaluation share: pinned outcomes, clean splits, fitted methods."""

import hashlib
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as package_version
from typing import Any

import numpy as np
import polars as pl

from cluster.errors import InputError
from cluster.evaluation.harness import Evaluation
from cluster.evaluation.table import table_rows
from cluster.jobs.run import Part, Run
from cluster.lake.lake import Lake
from cluster.lake.outcomes import Normalisation, read_outcomes
from cluster.outcome import OutcomeMatrix
from cluster.query import digest
from cluster.routers.checkpoint import CheckpointMeta
from cluster.routers.fit import Fit, concatenate, fit_method
from cluster.routers.near_duplicates import near_duplicates

LOG = logging.getLogger("signalbox.fit")


@dataclass(frozen=True)
class Label:
    """What a reward means: which scorer's, on which dataset, normalised how."""

    dataset: str
    scorer: str
    normalisation: Normalisation = "none"


@dataclass(frozen=True)
class Prepared:
    """Outcomes cut for fitting and testing.

    Attributes:
        train, validation, test: no query in two of them.
        near_duplicates: rows left out: of train where a validation or test row says nearly the
            same, of validation where a test row does (methods are fitted on both in the end).
    """

    train: OutcomeMatrix
    validation: OutcomeMatrix
    test: OutcomeMatrix
    near_duplicates: int

    @property
    def fitted_on(self) -> OutcomeMatrix:
        """Train + validation: what methods and baselines are fitted on in the end."""
        return concatenate(self.train, self.validation)


def outcomes_of(
    label: Label, *, lake: Lake, versions: dict[str, int], candidates: Sequence[str]
) -> OutcomeMatrix:
    """The outcome matrix a label describes."""
    return read_outcomes(
        lake,
        dataset=label.dataset,
        scorer=label.scorer,
        normalisation=label.normalisation,
        candidates=candidates,
        versions=versions,
    )


def prepare(outcomes: OutcomeMatrix, *, test: OutcomeMatrix | None = None) -> Prepared:
    """Cut outcomes by split and leave out what would leak.

    Args:
        outcomes: what is fitted on.
        test: the rows to test on, if they are of another dataset.

    Raises:
        InputError: there is no row to fit on, or none to test on.
    """
    test = outcomes.on_splits(["test"]) if test is None else test
    train, validation = outcomes.on_splits(["train"]), outcomes.on_splits(["validation"])
    for rows, split in ((train, "train"), (test, "test")):
        if len(rows) == 0:
            raise InputError(
                f"no query of split '{split}' has a reward here; add queries, or import with "
                f"--split {split}"
            )
    leaks = near_duplicates(validation.texts, held_out=test.texts)
    validation = validation.take(~leaks)
    held_out = pl.concat([validation.texts, test.texts])
    near = near_duplicates(train.texts, held_out=held_out)
    left_out = int(near.sum() + leaks.sum())
    if left_out:
        LOG.info("%d queries nearly repeat a held-out one and are left out", left_out)
    if near.all():
        raise InputError("every train query nearly repeats a validation or test query")
    return Prepared(train.take(~near), validation, test, left_out)


def fit_all(methods: Sequence[str], *, data: Prepared, seed: int, run: Run) -> dict[str, Fit]:
    """Each method with settings chosen on validation, fitted on train + validation."""
    fits = {}
    for number, method in enumerate(methods):
        run.progress(Part("methods", number, len(methods), unit="methods", note=method), now=True)
        fits[method] = fit_method(method, train=data.train, validation=data.validation, seed=seed)
        LOG.info("%s: fitted with %s", method, fits[method].settings)
    run.progress(Part("methods", len(methods), len(methods), unit="methods"), now=True)
    return fits


def checkpoint_meta(fit: Fit, *, label: Label, data: Prepared, seed: int) -> CheckpointMeta:
    """What is known about a fitted router, for its checkpoint."""
    outcomes = data.fitted_on
    return CheckpointMeta(
        candidate_ids=outcomes.candidate_ids,
        label=vars(label),
        settings=fit.settings.model_dump(mode="json"),
        data={
            "outcomes": outcomes_digest(outcomes),
            "train": len(data.train),
            "validation": len(data.validation),
            "near_duplicates_left_out": data.near_duplicates,
            "prompt_tokens_per_character": _tokens_per_character(outcomes),
        },
        metrics={"validation_macro_reward": validation_reward(fit)},
        code_version=package_version("signalbox"),
        seed=seed,
    )


def validation_reward(fit: Fit) -> float | None:
    """Macro mean reward on validation of the chosen settings; None where nothing was tried."""
    chosen = [trial for trial in fit.trials if trial.settings == fit.settings]
    return chosen[0].macro_reward if chosen else None


def _tokens_per_character(outcomes: OutcomeMatrix) -> dict[str, float | None]:
    """By candidate: prompt tokens a character of the query, to price a prompt before it is sent."""
    characters = outcomes.texts.str.len_chars().to_numpy().astype(float)
    ratios: dict[str, float | None] = {}
    for column, name in enumerate(outcomes.candidates):
        tokens = outcomes.prompt_tokens[:, column]
        known = ~np.isnan(tokens)
        total = characters[known].sum()
        ratios[name] = float(tokens[known].sum() / total) if total else None
    return ratios


def outcomes_digest(outcomes: OutcomeMatrix) -> str:
    """sha256 over candidates, query ids, splits and rewards: what a router was fitted on."""
    names = [*outcomes.candidates, *outcomes.queries["query_id"], *outcomes.queries["split"]]
    content = hashlib.sha256(digest(names).encode())
    content.update(np.ascontiguousarray(outcomes.reward, dtype="<f8").tobytes())
    return content.hexdigest()


def keep_outcomes(outcomes: OutcomeMatrix, *, uri: str, lake: Lake) -> None:
    """Store what a router was fitted on, so that it can be explained after a table was compacted.

    Parquet: `query_id`, `split` and a column of rewards a candidate, null where missing.
    """
    rewards = {
        name: pl.Series(outcomes.reward[:, column]).fill_nan(None)
        for column, name in enumerate(outcomes.candidates)
    }
    frame = outcomes.queries.select("query_id", "split").with_columns(**rewards)
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    lake.storage.write(uri, buffer.getvalue())


def short_table(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The final table as JSON values."""
    return [json.loads(json.dumps(vars(row))) for row in table_rows(evaluation.rows)]

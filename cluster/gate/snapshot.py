"""A frozen test snapshot: the queries, and what every candidate's answer to them was worth.

snapshots/<name>/snapshot.json          what it is; written last, and once
                 files/<sha256>.parquet rows and outcomes, named for their content
                 added/<candidate_id>   one a candidate that came later, written once

It is made of test rows that were drawn evenly, one a text, and never changes: not when the lake
gets other labels, more samples or another scorer, nor when its files are touched, which is told.
A candidate that comes later, or whose rewards were not all there on that day, has its outcomes on
these queries added beside the others once they are; they must be collected first.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict

from cluster.errors import InputError
from cluster.failpoint import failpoint
from cluster.gate.files import FOLDER, keep, snapshot_uri
from cluster.gate.rare import REASON, is_bearable
from cluster.gate.renewal import check_fresh
from cluster.guarantee.rows import one_a_text
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes, scorer_of
from cluster.normalisation import Normalisation
from cluster.outcome import MATRICES, OutcomeMatrix
from cluster.query import digest

SPLIT = "test"
# Fewer rows cannot show that anything is better at any level.
FEWEST = 20
# Of the snapshot's queries, that a candidate must have answered to be in it: one whose answers were
# half there when it was frozen would stay so, and shut the gate to every router that may choose it.
ENOUGH = 0.95
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Measure:
    """What is measured by: whose rewards of which dataset, on which scale.

    Attributes:
        dataset, scorer, normalisation, temperature: as `read_outcomes` takes them.
    """

    dataset: str
    scorer: str = ""
    normalisation: Normalisation = "none"
    temperature: float = 1.0


class Snapshot(BaseModel):
    """What a snapshot is.

    Attributes:
        name: its own.
        number: of the dataset's snapshots, from 1.
        dataset, scorer, normalisation, temperature: whose outcomes.
        at: when it was frozen.
        rows: number of queries.
        tasks: queries by task.
        queries: digest of the file with the queries' ids, tasks and digests of their texts.
        outcomes: by candidate_id, its name and the digest of the file with its outcomes.
        left_out: by reason, how many test rows are not in it.
        waiting: by name, the queries a candidate had a reward on that had too few of them to be in
            it; it is added when they are there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    number: int
    dataset: str
    scorer: str
    normalisation: Normalisation
    temperature: float
    at: str
    rows: int
    tasks: dict[str, int]
    queries: str
    outcomes: dict[str, tuple[str, str]]
    left_out: dict[str, int]
    waiting: dict[str, int] = {}

    @property
    def digest(self) -> str:
        """sha256 in hex of queries and outcomes."""
        files = sorted(f"{key} {sha}" for key, (_, sha) in self.outcomes.items())
        return digest([self.queries, *files])

    @property
    def measure(self) -> Measure:
        """What it measures by."""
        return Measure(self.dataset, self.scorer, self.normalisation, self.temperature)


def freeze(lake: Lake, *, measure: Measure, name: str = "") -> Snapshot:
    """Make a snapshot of a dataset's test rows as they are now.

    Args:
        lake: where the outcomes are, and where it is kept.
        measure: what is measured by.
        name: of the snapshot; empty: the dataset's with the snapshot's number.

    Raises:
        InputError: there is one of that name, or the dataset has too few test rows that have a
            reward of every candidate that is nearly complete, or too many of them were looked at
            in earlier snapshots of the measure.
    """
    there = snapshots(lake, dataset=measure.dataset)
    number = 1 + max([0, *(one.number for one in there)])
    name = name or f"{_as_name(measure.dataset)}-{number}"
    check_name(name)
    measure = _named(measure, lake=lake)
    outcomes = read_outcomes(lake, **vars(measure))
    rows, left_out, waiting = _drawn(outcomes, dataset=measure.dataset)
    queries = _queries(rows)
    earlier = {one.name: one.queries for one in there if one.measure == measure}
    check_fresh(queries, earlier=earlier, lake=lake)
    made = Snapshot(
        name=name,
        number=number,
        **vars(measure),
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        rows=len(rows),
        tasks=_counts(rows.tasks),
        queries=keep(queries, lake=lake, name=name),
        outcomes={
            key: (rows.candidates[column], keep(cells(rows, column=column), lake=lake, name=name))
            for column, key in enumerate(rows.candidate_ids)
        },
        left_out=left_out,
        waiting=waiting,
    )
    failpoint("snapshot.before")
    content = made.model_dump_json(indent=1).encode()
    try:
        lake.storage.write_new(snapshot_uri(lake, name, "snapshot.json"), content)
    except FileExistsError:
        raise InputError(
            f"{snapshot_uri(lake, name)}: there is a snapshot '{name}' already, and none is ever "
            "changed; give this one another name with --name"
        ) from None
    failpoint("snapshot.after")
    return made


def current(lake: Lake, *, measure: Measure) -> Snapshot | None:
    """The newest snapshot that measures by this, or None."""
    wanted = _named(measure, lake=lake)
    found = [one for one in snapshots(lake, dataset=wanted.dataset) if one.measure == wanted]
    return found[-1] if found else None


def current_or_frozen(lake: Lake, *, measure: Measure) -> Snapshot:
    """The newest snapshot that measures by this; where there is none, it is frozen now.

    Raises:
        InputError: as `freeze`.
    """
    found = current(lake, measure=measure)
    if found is not None:
        return found
    try:
        return freeze(lake, measure=measure)
    except InputError:
        # Another run may have frozen it meanwhile.
        found = current(lake, measure=measure)
        if found is None:
            raise
        return found


def snapshots(lake: Lake, *, dataset: str = "") -> list[Snapshot]:
    """All snapshots of the lake, or of a dataset, oldest first."""
    files = lake.storage.list(lake.storage.join(FOLDER))
    found = [
        Snapshot.model_validate_json(lake.storage.read_bytes(uri))
        for uri, _ in files
        if uri.endswith("/snapshot.json")
    ]
    own = [one for one in found if not dataset or one.dataset == dataset]
    return sorted(own, key=lambda one: (one.at, one.number))


def load_snapshot(lake: Lake, *, name: str) -> Snapshot:
    """The snapshot of that name.

    Raises:
        InputError: there is none.
    """
    check_name(name)
    content = lake.storage.read_bytes_or_none(snapshot_uri(lake, name, "snapshot.json"))
    if content is None:
        there = ", ".join(one.name for one in snapshots(lake)) or "none"
        raise InputError(
            f"no snapshot '{name}' in {lake.storage.uri}; there is {there}; make one with "
            "'signalbox snapshot create'"
        )
    return Snapshot.model_validate_json(content)


def _named(measure: Measure, *, lake: Lake) -> Measure:
    """With the scorer's name where it was left open, and no temperature where it changes nothing.

    Raises:
        InputError: no such dataset or scorer.
    """
    scorer = scorer_of(lake, dataset=measure.dataset, scorer=measure.scorer)
    temperature = measure.temperature if measure.normalisation == "sigmoid" else 1.0
    return replace(measure, scorer=scorer, temperature=temperature)


def _as_name(dataset: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", dataset).strip("._-") or "data"


def _counts(tasks: npt.NDArray[np.str_]) -> dict[str, int]:
    names, counts = np.unique(tasks, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _drawn(
    outcomes: OutcomeMatrix, *, dataset: str
) -> tuple[OutcomeMatrix, dict[str, int], dict[str, int]]:
    """The test rows that may be measured on, one a text, of the candidates that are nearly
    complete; how many rows are not in it, and the rows of the candidates that are not."""
    test = outcomes.on_splits([SPLIT])
    biased = test.queries["sampling_probability"].fill_null(1.0).to_numpy() < 1.0
    silent = ~test.mask.any(axis=1)
    every, copies = one_a_text(test.take(~biased & ~silent))
    known = every.mask.sum(axis=0)
    waiting = (known > 0) & (known < ENOUGH * len(every))
    rows = _columns(every, index=np.flatnonzero((known > 0) & ~waiting))
    alone: npt.NDArray[np.bool_] = np.asarray(~rows.mask.any(axis=1))
    rows = rows.take(~alone)
    bearable = is_bearable(rows.tasks)
    rows = rows.take(bearable)
    counts = {
        "were picked with a bias": int(biased.sum()),
        "have no reward": int((silent & ~biased).sum()),
        "repeat a text (their mean counts once)": copies,
        "have a reward of incomplete candidates alone": int(alone.sum()),
        REASON: int((~bearable).sum()),
    }
    left_out = {reason: count for reason, count in counts.items() if count}
    incomplete = {
        every.candidates[column]: int(known[column]) for column in np.flatnonzero(waiting)
    }
    _check_enough(rows, dataset=dataset, left_out=left_out, waiting=incomplete, of=len(every))
    return rows, left_out, incomplete


def _check_enough(
    rows: OutcomeMatrix,
    *,
    dataset: str,
    left_out: dict[str, int],
    waiting: dict[str, int],
    of: int,
) -> None:
    complete = len(rows.complete()) if rows.candidates else 0
    if complete >= FEWEST:
        return
    words = f"left out: {left_out or 'none'}"
    if waiting:
        lacking = ", ".join(f"'{name}' {count}" for name, count in sorted(waiting.items()))
        words += f"; with rewards on fewer than {ENOUGH:.0%} of {of} queries: {lacking}"
    raise InputError(
        f"dataset '{dataset}' has {complete} test queries with a reward of every candidate, drawn "
        f"evenly, expected {FEWEST} or more to freeze a snapshot ({words}); collect or import "
        "more: a tenth of the queries is test"
    )


def _columns(outcomes: OutcomeMatrix, *, index: npt.NDArray[np.int64]) -> OutcomeMatrix:
    return replace(
        outcomes,
        candidates=tuple(outcomes.candidates[column] for column in index),
        candidate_ids=tuple(outcomes.candidate_ids[column] for column in index),
        **{name: getattr(outcomes, name)[:, index] for name in MATRICES},
    )


def _queries(rows: OutcomeMatrix) -> pl.DataFrame:
    """`query_id`, `task`, `text_id`, in the snapshot's order."""
    texts = pl.Series("text_id", [digest(["text", text]) for text in rows.texts])
    return rows.queries.select("query_id", "task").with_columns(texts)


def cells(rows: OutcomeMatrix, *, column: int) -> pl.DataFrame:
    """`query_id` and the matrices' columns of one candidate, where its reward is known."""
    values = {name: pl.Series(getattr(rows, name)[:, column]).fill_nan(None) for name in MATRICES}
    cells = rows.queries.select("query_id").with_columns(**values)
    return cells.filter(pl.col("reward").is_not_null())


def check_name(name: str) -> None:
    """Make sure a name can be a folder.

    Raises:
        InputError: it cannot.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"snapshot '{name}': expected letters, digits, dots, dashes and underscores, the first "
            "a letter or digit"
        )

"""Rounds of an evaluation: what is fitted on, and which rows are measured with it.

One round is the common case: fitted on train and validation, measured on test. Held-out tasks and
cross-validation take several, in each of which no measured row has been fitted on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.errors import InputError
from cluster.folds import Folds, task_folds, text_folds
from cluster.jobs.prepared import STATED, Prepared, prepare
from cluster.outcome import BoolMatrix, OutcomeMatrix

EACH = "each"
GROUP_FOLDS = 10
# Of a fold's own training rows, a tenth is what settings are chosen on.
VALIDATION_FOLDS = 10


@dataclass(frozen=True)
class Round:
    """One fit and what it is measured on.

    Attributes:
        name: for the progress.
        data: fitted on its train and validation rows; its test rows are measured.
        rows: positions of its test rows among all that are measured.
    """

    name: str
    data: Prepared
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rounds:
    """An evaluation.

    Attributes:
        measured: all rows that are measured, each in one round.
        rounds: the rounds.
        split: what the rows of the metrics are named: `test`, or `cross` where all rows of the
            dataset are measured.
        unseen_tasks: whether no round has fitted on a task it is measured on.
        resample_tasks: whether intervals are over tasks.
    """

    measured: OutcomeMatrix
    rounds: tuple[Round, ...]
    split: str = "test"
    unseen_tasks: bool = False
    resample_tasks: bool = False

    @property
    def words(self) -> str:
        """What methods were fitted on."""
        if len(self.rounds) > 1:
            what = "other tasks" if self.unseen_tasks else "other queries"
            return f"Measured in {len(self.rounds)} rounds, each fitted on {what}."
        data = self.rounds[0].data
        without = " without the measured tasks" if self.unseen_tasks else ""
        stated = "" if data.stated is None else f" {STATED}."
        battles = "" if data.battles is None else f", and on battles ({len(data.battles):,})"
        return (
            f"Fitted on {len(data.train):,} train and {len(data.validation):,} validation queries"
            f"{without}{battles}.{stated}"
        )

    @property
    def near_duplicates(self) -> int:
        """Rows left out in all rounds because they nearly repeat a measured one."""
        return sum(one.data.near_duplicates for one in self.rounds)


def by_split(
    outcomes: OutcomeMatrix,
    *,
    test: OutcomeMatrix | None = None,
    battles: OutcomeMatrix | None = None,
    pair: tuple[str, str] | None = None,
) -> Rounds:
    """Fitted on train and validation, measured on test, which may be another dataset's.

    `battles`, `pair`: as in `prepare`; with battles there may be no train row.

    Raises:
        InputError: there is no row to fit on, or none to measure.
    """
    data = prepare(outcomes, test=test, battles=battles, pair=pair)
    return Rounds(data.test, (Round("methods", data, np.arange(len(data.test))),))


def without_tasks(
    outcomes: OutcomeMatrix, *, tasks: Sequence[str], battles: OutcomeMatrix | None = None
) -> Rounds:
    """Fitted without some tasks, measured on the test rows of these.

    Args:
        outcomes: the dataset.
        tasks: held out together, or `each` of the test split's in turn.
        battles: to learn from too, but for those of the tasks held out.

    Raises:
        InputError: a task has no test row, or no task is left to fit on.
    """
    test = outcomes.on_splits(["test"])
    there = np.unique(test.tasks).tolist()
    missing = [task for task in tasks if task not in (*there, EACH)]
    if missing:
        raise InputError(
            f"--holdout-task {missing[0]}: no test query is of that task; tasks there: "
            f"{', '.join(there) or 'none'}; or '{EACH}' for each of them in turn"
        )
    turns = [[task] for task in there] if EACH in tasks else [list(dict.fromkeys(tasks))]
    measured = test.take(np.isin(test.tasks, [task for turn in turns for task in turn]))
    rounds = [
        _without(turn, outcomes=outcomes, measured=measured, battles=battles) for turn in turns
    ]
    several = len(np.unique(measured.tasks)) > 1
    return Rounds(measured, tuple(rounds), unseen_tasks=True, resample_tasks=several)


def _without(
    tasks: Sequence[str],
    *,
    outcomes: OutcomeMatrix,
    measured: OutcomeMatrix,
    battles: OutcomeMatrix | None,
) -> Round:
    named = ", ".join(tasks)
    rest = outcomes.take(~np.isin(outcomes.tasks, tasks))
    if not len(rest.on_splits(["train"])):
        raise InputError(
            f"--holdout-task {named}: no train query of another task is left to fit on"
        )
    rows = np.flatnonzero(np.isin(measured.tasks, tasks))
    others = None if battles is None else battles.take(~np.isin(battles.tasks, tasks))
    data = prepare(rest, test=measured.take(rows), battles=others)
    return Round(f"without {named}", data, rows)


def crossed(
    outcomes: OutcomeMatrix, *, n_folds: int, battles: OutcomeMatrix | None = None
) -> Rounds:
    """Every row measured once, fitted on the others, and on battles: folds by the text's hash.

    Splits are passed over, but for `calibration`, which is never fitted on or measured. Queries
    that were picked with a bias are fitted on, and not measured.

    Raises:
        InputError: there are too few distinct texts.
    """
    rows = _usable(outcomes)
    folds = text_folds(rows.texts, n_folds=n_folds, purpose="evaluation")
    rounds = _cut(rows, folds=folds, flag=f"--cross {n_folds}", battles=battles)
    return Rounds(rows.take(_evenly_drawn(rows)), rounds, split="cross")


def group_crossed(
    outcomes: OutcomeMatrix, *, n_folds: int = GROUP_FOLDS, battles: OutcomeMatrix | None = None
) -> Rounds:
    """Every row measured once, fitted on other tasks, and on battles: folds of whole tasks.

    Raises:
        InputError: there is one task alone.
    """
    rows = _usable(outcomes)
    folds = task_folds(rows.tasks, n_folds=n_folds, purpose="evaluation")
    rounds = _cut(rows, folds=folds, flag="--group-folds", battles=battles)
    measured = rows.take(_evenly_drawn(rows))
    return Rounds(measured, rounds, split="cross", unseen_tasks=True, resample_tasks=True)


def _usable(outcomes: OutcomeMatrix) -> OutcomeMatrix:
    """All rows but those of `calibration`."""
    return outcomes.take(outcomes.queries["split"].ne_missing("calibration").to_numpy())


def _evenly_drawn(outcomes: OutcomeMatrix) -> BoolMatrix:
    """(n_queries,): what may be measured; queries picked with a bias are only fitted on."""
    drawn: BoolMatrix = (outcomes.queries["sampling_probability"] == 1.0).to_numpy()
    return drawn


def _cut(
    outcomes: OutcomeMatrix, *, folds: Folds, flag: str, battles: OutcomeMatrix | None
) -> tuple[Round, ...]:
    """A round a fold; of its evenly drawn training rows a tenth, by the text's hash, is
    validation. Rows picked with a bias are train alone."""
    even = _evenly_drawn(outcomes)
    measured, own = outcomes.take(even), folds[even]
    present = np.unique(own).tolist()
    if len(present) < 2:
        what = "task" if flag == "--group-folds" else "text"
        raise InputError(f"{flag}: all rows are of one {what}, which leaves nothing to fit on")
    tenth = text_folds(outcomes.texts, n_folds=VALIDATION_FOLDS, purpose="validation") == 0
    split = pl.Series("split", np.where(tenth & even, "validation", "train"))
    fitted = replace(outcomes, queries=outcomes.queries.with_columns(split))
    return tuple(
        Round(
            f"fold {number + 1} of {len(present)}",
            prepare(fitted.take(folds != fold), test=measured.take(own == fold), battles=battles),
            np.flatnonzero(own == fold),
        )
        for number, fold in enumerate(present)
    )

"""Outcomes and battles cut for fitting and testing: what leaks is left out, and counted."""

import logging
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.lake.preferences import read_preferences
from cluster.outcome import OutcomeMatrix, concatenate
from cluster.routers.lesson import LEARNED, Lesson, lesson
from cluster.routers.near_duplicates import near_duplicates
from cluster.routers.router import Method

LOG = logging.getLogger("signalbox.fit")
STATED = "No train query has a reward, so baselines take the one named as the strong for the best"


@dataclass(frozen=True)
class Prepared:
    """Outcomes cut for fitting and testing.

    Attributes:
        train, validation, test: no query in two of them.
        near_duplicates: rows left out: of train where a validation or test row says nearly the
            same, of validation where a test row does (methods are fitted on both in the end).
        battles: train and validation rows to learn from beside these, for the methods that can
            (`cluster.routers.lesson`); None where none were asked for.
        stated: what is known beforehand where neither train nor validation has a row: a row that
            says which candidate is the strong one; None otherwise.
    """

    train: OutcomeMatrix
    validation: OutcomeMatrix
    test: OutcomeMatrix
    near_duplicates: int
    battles: OutcomeMatrix | None = None
    stated: OutcomeMatrix | None = None

    @property
    def fitted_on(self) -> OutcomeMatrix:
        """Train + validation: what methods are fitted on in the end, without the battles."""
        return concatenate(self.train, self.validation)

    @property
    def known(self) -> OutcomeMatrix:
        """What baselines are fitted on: train + validation, or what was stated; never battles."""
        return self.fitted_on if self.stated is None else self.stated

    def lesson(self, method: Method) -> Lesson:
        """What a method with these settings is trained on, and judged on.

        Raises:
            InputError: as `cluster.routers.lesson.lesson`.
        """
        return lesson(method, self.train, self.validation, battles=self.battles)

    def taught(self, method: Method) -> OutcomeMatrix:
        """All that a method with these settings has seen."""
        seen = self.lesson(method)
        return concatenate(seen.train, seen.validation)


def prepare(
    outcomes: OutcomeMatrix,
    *,
    test: OutcomeMatrix | None = None,
    battles: OutcomeMatrix | None = None,
    pair: tuple[str, str] | None = None,
    frozen: pl.Series | None = None,
) -> Prepared:
    """Cut outcomes by split and leave out what would leak.

    Args:
        outcomes: what is fitted on.
        test: the rows to test on, if they are of another dataset.
        battles: to learn from too, or alone where the outcomes have no train row.
        pair: the strong and the weak candidate, where they are named: then there may be no train
            row, to measure what was fitted elsewhere.
        frozen: texts of a snapshot that the fitted are to be measured on as well.

    Raises:
        InputError: there is no row to fit on, or none to test on.
    """
    test = outcomes.on_splits(["test"]) if test is None else test
    train, validation = outcomes.on_splits(["train"]), outcomes.on_splits(["validation"])
    needed = ((train, "train"),) if battles is None and pair is None else ()
    for rows, split in (*needed, (test, "test")):
        if len(rows) == 0:
            raise InputError(
                f"no query of split '{split}' has a reward here; add queries, or import with "
                f"--split {split}, or measure with 'evaluate --cross 5', which cuts its own splits"
            )
    measured = test.texts if frozen is None else pl.concat([test.texts, frozen])
    leaks = near_duplicates(validation.texts, held_out=measured)
    validation = validation.take(~leaks)
    held_out = pl.concat([validation.texts, measured])
    near = near_duplicates(train.texts, held_out=held_out)
    left_out = int(near.sum() + leaks.sum())
    if left_out:
        LOG.info("%d queries nearly repeat a held-out one and are left out", left_out)
    if len(near) and near.all():
        raise InputError(
            "every train query nearly repeats a validation or test query, and none is left to fit "
            "on: measure on other queries, or give these a split each with --split"
        )
    data = Prepared(train.take(~near), validation, test, left_out)
    if not len(data.fitted_on):
        LOG.info("%s", STATED)
        data = replace(data, stated=stated_order(data.test, pair=pair))
    return data if battles is None else _clean(battles.on_splits(LEARNED), data=data, frozen=frozen)


def battles_alone(battles: OutcomeMatrix) -> Prepared:
    """Battles and nothing else: there is no reward to fit on or to measure by.

    Raises:
        InputError: none is of split train.
    """
    nothing = battles.take(np.zeros(0, dtype=np.int64))
    return _clean(battles.on_splits(LEARNED), data=Prepared(nothing, nothing, nothing, 0))


def _clean(battles: OutcomeMatrix, *, data: Prepared, frozen: pl.Series | None = None) -> Prepared:
    """The data with those of the battles that do not nearly repeat what is held out.

    Raises:
        InputError: none of train is left.
    """
    parts = [data.validation.texts, data.test.texts, *([] if frozen is None else [frozen])]
    held_out = pl.concat(parts)
    near = near_duplicates(battles.texts, held_out=held_out)
    if not len(data.validation):
        judged = battles.on_splits(["validation"]).texts
        on_train = (battles.queries["split"] == "train").to_numpy()
        near |= on_train & near_duplicates(battles.texts, held_out=judged)
    if near.any():
        LOG.info("%d battles nearly repeat a held-out query and are left out", near.sum())
    battles = battles.take(~near)
    if not len(battles.on_splits(["train"])):
        raise InputError(
            "no battle of split 'train' is left to learn from; import some with --split train"
        )
    return replace(data, battles=battles, near_duplicates=data.near_duplicates + int(near.sum()))


def stated_order(test: OutcomeMatrix, *, pair: tuple[str, str] | None) -> OutcomeMatrix:
    """One row, 1 for the strong candidate and 0 for the weak one: all that is known before a test.

    So `best_single` and whoever else asks what is best on train has the strong one, as its owner
    says, and nothing of the test's rewards.

    Raises:
        InputError: no pair was named, or there are others whose place nobody has told.
    """
    names = ", ".join(test.candidates)
    if pair is None:
        raise InputError(
            "no train query has a reward, so nothing tells which candidate is the better one: name "
            f"it with --strong and the other with --weak; candidates are {names}"
        )
    for flag, name in zip(("--strong", "--weak"), pair, strict=True):
        if name not in test.candidates:
            raise InputError(f"{flag} {name}: no such candidate; there is {names}")
    if len(test.candidates) != 2:
        raise InputError(
            f"no train query has a reward, so nothing is known of others than {pair[0]} and "
            f"{pair[1]}: leave these two with --candidates; there is {names}"
        )
    row = test.take(np.zeros(1, dtype=np.int64))
    nothing = np.full((1, 2), np.nan)
    reward = np.array([[float(name == pair[0]) for name in test.candidates]])
    return replace(
        row,
        reward=reward,
        prompt_tokens=nothing,
        completion_tokens=nothing,
        cost_usd=nothing,
        n_samples=np.zeros((1, 2)),
        answers=None,
    )


def battles_of(
    lake: Lake, *, dataset: str, judge: str, versions: dict[str, int]
) -> OutcomeMatrix | None:
    """The battles of a dataset; None where none is named.

    Raises:
        InputError: as `read_preferences`.
    """
    if not dataset:
        return None
    return read_preferences(lake, dataset=dataset, judge=judge, versions=versions)

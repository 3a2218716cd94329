"""Folds: which part of a dataset a query falls into, by its text's hash alone.

Exact duplicates stay together, and arrival order never matters.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.query import digest

Folds = npt.NDArray[np.int64]


def hash_positions(names: pl.Series, *, purpose: str) -> npt.NDArray[np.float64]:
    """(n,): where each name falls in [0, 1): the first 52 bits of its hash with the purpose.

    Cuts made for different purposes are independent: folds within a fold's training rows would
    otherwise be the outer ones again, one of them empty.
    """
    distinct = names.unique(maintain_order=True)
    positions = [int(digest(["fold", purpose, name or ""])[:13], 16) / 2**52 for name in distinct]
    return names.replace_strict(distinct, positions, return_dtype=pl.Float64).to_numpy()


def text_folds(texts: pl.Series, *, n_folds: int, purpose: str) -> Folds:
    """(n,): the fold of each text, 0 to n_folds - 1; in expectation equally many texts in each."""
    folds: Folds = (hash_positions(texts, purpose=purpose) * n_folds).astype(np.int64)
    return folds


def task_folds(tasks: npt.NDArray[np.str_], *, n_folds: int, purpose: str) -> Folds:
    """(n,): the fold of each row's task; whole tasks stay together.

    Tasks are dealt out in the order of their hashes, so folds hold the same number of tasks, give
    or take one: with fewer tasks than folds there are as many folds as tasks.
    """
    names = np.unique(tasks)
    positions = hash_positions(pl.Series(names, dtype=pl.String), purpose=purpose)
    fold_of = np.empty(len(names), dtype=np.int64)
    fold_of[np.argsort(positions, kind="stable")] = np.arange(len(names)) % n_folds
    folds: Folds = fold_of[np.searchsorted(names, tasks)]
    return folds

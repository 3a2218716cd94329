"""Sums in one order: the same numbers whatever the number of cores."""

from contextlib import AbstractContextManager
from typing import Any


def one_blas_thread() -> AbstractContextManager[Any]:
    """Hold BLAS to one thread while the block runs.

    With two threads instead of one the SVD of the same matrix differed in its last bits, and the
    version of a checkpoint is the hash of its content.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits

"""A share of the queries goes to any candidate, so that outcomes of the others are seen too.

A router that is trained on what it chose itself never learns what it missed. With the probability
of every choice beside it, outcomes can be reweighted by its inverse to what any other policy would
have had (Horvitz and Thompson 1952).
"""

import hashlib

import numpy as np
import polars as pl

from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.policy import Choices, Numbers, one_of

_RANGE = 2.0**64


def drawn(texts: pl.Series, *, allowed: BoolMatrix, share: float) -> Choices:
    """(n_queries,) the candidate that exploration sends each query to; -1 for most.

    Drawn by a salted hash of the text alone, evenly among those that are allowed, so that a text
    has the same fate in every run.

    Args:
        texts: (n_queries,).
        allowed: (n_queries, n_candidates), somebody in every row.
        share: of the queries that are drawn.
    """
    whether, whom = _numbers(texts)
    explores = whether < share * _RANGE
    chosen: Choices = np.where(explores, one_of(allowed, numbers=whom), -1)
    return chosen


def narrowed(allowed: BoolMatrix, *, explored: Choices) -> BoolMatrix:
    """`allowed` with nobody but the drawn candidate where one is drawn.

    What a policy that looks at the whole file is settled on, so that it reckons with the cost of
    exploration.
    """
    rows = np.flatnonzero(explored >= 0)
    narrow = allowed.copy()
    narrow[rows] = False
    narrow[rows, explored[rows]] = True
    return narrow


def explore(
    chosen: Choices, *, explored: Choices, allowed: BoolMatrix, share: float
) -> tuple[Choices, FloatMatrix]:
    """(n_queries,) who answers, and how likely that was over the draws of exploration.

    Args:
        chosen: (n_queries,) what the policy chooses among `allowed`.
        explored: (n_queries,) as `drawn`.
        allowed: (n_queries, n_candidates).
        share: of the queries that are drawn.
    """
    final: Choices = np.where(explored >= 0, explored, chosen)
    probability = share / allowed.sum(axis=1) + np.where(final == chosen, 1 - share, 0.0)
    return final, probability


def _numbers(texts: pl.Series) -> tuple[Numbers, Numbers]:
    """(n,) two 64-bit numbers from each text alone."""
    digests = b"".join(hashlib.sha256(f"explore\n{text}".encode()).digest()[:16] for text in texts)
    both = np.frombuffer(digests, dtype=">u8").reshape(-1, 2).astype(np.uint64)
    return both[:, 0], both[:, 1]

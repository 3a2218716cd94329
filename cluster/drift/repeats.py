"""How much rows say whose texts repeat: as much as so many rows of texts of their own (Kish 1965).

A text that stands in a file 80 times was drawn once. So a share's variance is that of
n = (Σ w)² / Σ w² texts, w the weight of all rows of a text. Within a shard the sum of squares is
counted. Of a text in several shards the products of its weights there are missing, and keeping
every text of a large file would take too much room: they are estimated from a sketch (Alon, Matias
and Szegedy, "The space complexity of approximating the frequency moments", STOC 1996, in the form
of Charikar, Chen and Farach-Colton 2002). Each text's weight goes into one of `BUCKETS` sums by its
hash, with a sign by its hash; sketches add, and the sum of their squares is on average that of the
texts' weights, with a standard deviation of √(2 / BUCKETS) of it, 9 %.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.outcome import FloatMatrix

BUCKETS = 256
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Distinct:
    """The distinct texts of some rows.

    Attributes:
        first: (n_texts,) a row of each.
        place: (n_rows,) which of the texts a row has.
        number: (n_texts,) of each text's hash.
    """

    first: Places
    place: Places
    number: npt.NDArray[np.uint64]

    def weights(self, weight: FloatMatrix) -> FloatMatrix:
        """(n_texts,) of all rows of each, from the rows' own, (n_rows,)."""
        return np.bincount(self.place, weights=weight).astype(np.float64)

    def sketch(self, weights: FloatMatrix) -> FloatMatrix:
        """(`BUCKETS`,) of the texts' weights, (n_texts,)."""
        bucket = (self.number % BUCKETS).astype(np.int64)
        sign = np.where(self.number // BUCKETS % 2 == 0, 1.0, -1.0)
        return np.bincount(bucket, weights=sign * weights, minlength=BUCKETS).astype(np.float64)


def distinct(texts: pl.Series) -> Distinct:
    """The distinct texts, (n_rows,)."""
    numbers = np.fromiter((_number(text) for text in texts), dtype=np.uint64, count=len(texts))
    number, first, place = np.unique(numbers, return_index=True, return_inverse=True)
    return Distinct(first.astype(np.int64), place.astype(np.int64), number)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"repeat\n{text}".encode()).digest()[:8], "big")

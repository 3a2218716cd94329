"""Which values of a long column have been seen before, in little memory."""

import numpy as np
import numpy.typing as npt
import polars as pl

Hashes = npt.NDArray[np.uint64]


class Seen:
    """The values that came so far, as sorted runs of 64-bit hashes: 8 bytes each.

    Two of 10 million values share a hash with a chance of 3 in a million, of 100 million 3 in
    10,000; the later one is then taken for a repeat.
    """

    def __init__(self) -> None:
        self._runs: list[Hashes] = []

    def first(self, values: pl.Series) -> pl.Series:
        """(n_values,) whether each is neither among those before it nor seen earlier; remembers."""
        # Seeds are fixed, and no hash outlives the process.
        hashes = values.hash(seed=0).to_numpy()
        new = values.is_first_distinct().to_numpy().copy()
        for run in self._runs:
            new[new] = ~_holds(run, hashes[new])
        self._add(np.sort(hashes[new]))
        return pl.Series("first", new, dtype=pl.Boolean)

    def _add(self, run: Hashes) -> None:
        """Runs at most double in number of values, so there are few of them to look into."""
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]))
        self._runs.append(run)


def _holds(run: Hashes, hashes: Hashes) -> npt.NDArray[np.bool_]:
    places = np.searchsorted(run, hashes)
    found: npt.NDArray[np.bool_] = np.zeros(len(hashes), dtype=bool)
    inside = places < len(run)
    found[inside] = run[places[inside]] == hashes[inside]
    return found

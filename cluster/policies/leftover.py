"""What is left of a limit after the cut, spent on the next entries that still fit.

The first entry that does not fit may be a large one: one dear query in a small file, or a text that
stands in it a thousand times. What is left then is filled up in the order of the keys, which is the
usual greedy finish for a knapsack. One more pass over the file, in bounded memory.
"""

import numpy as np

from cluster.outcome import FloatMatrix
from cluster.policies.cut import Entries, EntryPasses
from cluster.policies.policy import Numbers

# Entries that are looked at for what is left, the first by their keys, and keys that are taken.
WINDOW = 1 << 18
MOST = 256


def fill(passes: EntryPasses, *, left: float, enough: float) -> tuple[list[tuple[int, int]], float]:
    """The keys (order, number) that are taken beyond the cut, and what they weigh.

    Args:
        passes: entries beyond the cut, every one of which could be taken without another.
        left: what they may weigh all together.
        enough: less than this need not be filled.
    """
    keys: list[tuple[int, int]] = []
    spent = 0.0
    entries = _lowest(passes)
    rows = zip(*(each.tolist() for each in _by_key(entries)), strict=True)
    for order, number, weight in rows:
        if left - spent < enough or len(keys) == MOST:
            break
        if weight <= left - spent:
            keys.append((order, number))
            spent += weight
    return keys, spent


def _lowest(passes: EntryPasses) -> Entries:
    """The `WINDOW` entries of the lowest keys, sorted; no key in part."""
    none = np.zeros(0, dtype=np.uint64)
    kept, is_cut = Entries(none, none, np.zeros(0)), False
    for entries in passes():
        lower = entries.where(entries.order <= kept.order[-1]) if is_cut else entries
        kept = _sorted(_joined(kept, lower))
        if len(kept.order) > WINDOW:
            kept, is_cut = kept.where(np.arange(len(kept.order)) < WINDOW), True
    if is_cut:
        last = (kept.order == kept.order[-1]) & (kept.numbers == kept.numbers[-1])
        kept = kept.where(~last)
    return kept


def _joined(one: Entries, other: Entries) -> Entries:
    return Entries(
        np.concatenate([one.order, other.order]),
        np.concatenate([one.numbers, other.numbers]),
        np.concatenate([one.weight, other.weight]),
    )


def _sorted(entries: Entries) -> Entries:
    rows = np.lexsort((entries.numbers, entries.order))
    return Entries(entries.order[rows], entries.numbers[rows], entries.weight[rows])


def _by_key(entries: Entries) -> tuple[Numbers, Numbers, FloatMatrix]:
    """Sorted entries with those of one key added up."""
    if not len(entries.order):
        return entries.order, entries.numbers, entries.weight
    differs = (np.diff(entries.order) != 0) | (np.diff(entries.numbers) != 0)
    starts = np.append(0, np.flatnonzero(differs) + 1)
    weight = np.add.reduceat(entries.weight, starts)
    return entries.order[starts], entries.numbers[starts], weight

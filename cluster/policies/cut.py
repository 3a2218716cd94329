"""Where to cut an ordered file so that what is taken weighs as much as a limit allows.

Every entry of a file has a key, an order and a text's number, and a weight. They are taken by
rising key as long as their weights fit the limit. The key of the first that does not fit is found
as a radix sort would find it: a pass sums the weights by sixteen bits of the key, and only the bin
in which the limit is reached is looked at in the next. Two passes are usual and nine are the most,
in a few tens of megabytes, whatever the file's size and however many entries share an order.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.policy import Numbers

DIGIT = 16
KEY_BITS = 128
# Entries that are sorted in memory; 24 bytes each, and as much again to sort them.
WINDOW = 1 << 20
_LOW = (1 << 64) - 1


@dataclass(frozen=True)
class Entries:
    """Some rows' entries.

    Attributes:
        order: (k,) as `falling` makes it; the lowest are taken first.
        numbers: (k,) texts' numbers, by which entries of one order are taken.
        weight: (k,) at least 0.
    """

    order: Numbers
    numbers: Numbers
    weight: FloatMatrix

    def where(self, rows: BoolMatrix) -> "Entries":
        """Those that are marked."""
        return Entries(self.order[rows], self.numbers[rows], self.weight[rows])

    def below(self, prefix: int, *, bits: int) -> "Entries":
        """Those whose keys begin with `prefix`, the key's first `bits` bits."""
        if bits == 0:
            return self
        if bits <= 64:
            return self.where(self.order >> np.uint64(64 - bits) == np.uint64(prefix))
        first, rest = prefix >> (bits - 64), prefix & ((1 << (bits - 64)) - 1)
        numbers = self.numbers >> np.uint64(KEY_BITS - bits)
        return self.where((self.order == np.uint64(first)) & (numbers == np.uint64(rest)))


EntryPasses = Callable[[], Iterable[Entries]]


@dataclass(frozen=True)
class Cut:
    """The key of the first entry that is not taken.

    Attributes:
        order: of that entry.
        number: of that entry; of the same order those with a lower one are taken.
        taken: weight of all that are taken.
    """

    order: int
    number: int
    taken: float


class Histogram:
    """Entries and their weights by the `DIGIT` bits of the key after its first `bits`."""

    def __init__(self, *, bits: int = 0) -> None:
        """`bits`: how many bits of the key all entries have in common."""
        self.bits = bits
        self.counts = np.zeros(1 << DIGIT, dtype=np.int64)
        self.weights = np.zeros(1 << DIGIT)

    def add(self, entries: Entries) -> None:
        """Count some more."""
        half = entries.order if self.bits < 64 else entries.numbers
        digits = half << np.uint64(self.bits % 64) >> np.uint64(64 - DIGIT)
        places = digits.astype(np.int64)
        self.counts += np.bincount(places, minlength=1 << DIGIT)
        self.weights += np.bincount(places, weights=entries.weight, minlength=1 << DIGIT)

    def bin_of(self, limit: float) -> tuple[int, float]:
        """The bin in which the limit is passed, or one behind the last; and the weight before."""
        running = np.cumsum(self.weights)
        place = int(np.searchsorted(running, limit, side="right"))
        return place, float(running[place - 1]) if place else 0.0


def histogram(passes: EntryPasses) -> Histogram:
    """Of a whole file, by the first bits of the keys."""
    found = Histogram()
    for entries in passes():
        found.add(entries)
    return found


def find_cut(passes: EntryPasses, *, limit: float, first: Histogram | None = None) -> Cut | None:
    """Where to cut so that what is taken weighs at most `limit`; None if everything fits.

    Args:
        passes: each call is one more pass over the same entries.
        limit: in the weights' unit.
        first: the histogram of a first pass, where it has been made already.
    """
    counted, prefix, taken = first or histogram(passes), 0, 0.0
    place, before = counted.bin_of(limit)
    if place == 1 << DIGIT:
        return None
    while True:
        taken += before
        prefix = prefix << DIGIT | place
        bits = counted.bits + DIGIT
        if bits == KEY_BITS:
            return _cut_at(prefix, taken=taken)
        if counted.counts[place] <= WINDOW:
            return _cut_within(passes, prefix=prefix, bits=bits, taken=taken, limit=limit)
        counted = Histogram(bits=bits)
        for entries in passes():
            counted.add(entries.below(prefix, bits=bits))
        place, before = counted.bin_of(limit - taken)
        if place == 1 << DIGIT:  # sums in another order may differ in the last bit
            return _cut_at((prefix + 1) << (KEY_BITS - bits), taken=taken + before)


def _cut_within(passes: EntryPasses, *, prefix: int, bits: int, taken: float, limit: float) -> Cut:
    """The cut among entries that fit in memory, by sorting them."""
    parts = [entries.below(prefix, bits=bits) for entries in passes()]
    order, numbers, weight = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("order", "numbers", "weight")
    )
    rows = np.lexsort((numbers, order))
    order, numbers, running = order[rows], numbers[rows], np.cumsum(weight[rows])
    place = int(np.searchsorted(running, limit - taken, side="right"))
    if place == len(rows):  # sums in another order may differ in the last bit
        return _cut_at((prefix + 1) << (KEY_BITS - bits), taken=taken + float(running[-1]))
    same = (order == order[place]) & (numbers == numbers[place])
    start = int(same.argmax())
    key = int(order[start]) << 64 | int(numbers[start])
    return _cut_at(key, taken=taken + (float(running[start - 1]) if start else 0.0))


def _cut_at(key: int, *, taken: float) -> Cut:
    return Cut(key >> 64, key & _LOW, taken)


def falling(values: FloatMatrix) -> Numbers:
    """(k,) numbers that rise as the values fall; equal where they are equal. NaN is not allowed.

    The bits of a positive double rise with its value; those of a negative one are turned around.
    """
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    sign = np.uint64(1 << 63)
    rising: npt.NDArray[np.uint64] = np.where(bits & sign, ~bits, bits | sign)
    return ~rising


def value_of(order: int) -> float:
    """The value that `falling` made `order` of."""
    rising = order ^ _LOW
    bits = rising ^ (1 << 63) if rising >> 63 else rising ^ _LOW
    return float(np.array(bits, dtype=np.uint64).view(np.float64))

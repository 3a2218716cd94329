"""A shard: a range of rows of one file, the unit that is scored, written and found done again.

Which shards a file has depends on its content alone, so that a rerun, with other workers or fewer,
has the same ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil

from cluster.files.batch import Batch
from cluster.files.parquet import RowGroup


@dataclass(frozen=True)
class Stretch:
    """Row groups of a Parquet file that are read in one go.

    Attributes:
        file: number of the file in the spec.
        groups: the row groups.
        first_row: number of the first row in the file, from 1.
        rows: in all of them.
        bytes: of theirs before compression.
    """

    file: int
    groups: tuple[int, ...]
    first_row: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class Shard:
    """A range of rows of one file.

    Attributes:
        file: number of the file in the spec.
        first_row: number of its first row in the file, from 1.
        rows: good and broken ones.
        stretch: where a worker finds them in a Parquet file; None where it is handed the rows.
    """

    file: int
    first_row: int
    rows: int
    stretch: Stretch | None = None

    @property
    def key(self) -> str:
        """Name of what is made of it; sorts as the rows do."""
        return f"{self.file:05d}-{self.first_row:012d}"


def shard_of(batch: Batch, *, file: int) -> Shard:
    """The shard that a batch is."""
    return Shard(file, batch.first_row, batch.frame.height + batch.broken.height)


def stretches(groups: list[RowGroup], *, file: int, rows: int) -> Iterator[Stretch]:
    """A Parquet file's row groups, small neighbours together until they have `rows` rows."""
    held: list[tuple[int, RowGroup]] = []
    first = 1
    for number, group in enumerate(groups):
        if held and sum(one.rows for _, one in held) + group.rows > rows:
            yield _stretch(held, file=file, first_row=first)
            first += sum(one.rows for _, one in held)
            held = []
        held.append((number, group))
    if sum(one.rows for _, one in held):
        yield _stretch(held, file=file, first_row=first)


def _stretch(held: list[tuple[int, RowGroup]], *, file: int, first_row: int) -> Stretch:
    return Stretch(
        file,
        tuple(number for number, _ in held),
        first_row,
        sum(group.rows for _, group in held),
        sum(group.bytes for _, group in held),
    )


def shards(stretch: Stretch, *, rows: int, size: int) -> list[Shard]:
    """A stretch cut into shards of as good as equal length.

    Args:
        stretch: what to cut.
        rows: of a shard, at most.
        size: bytes of a shard, at most, as far as the footer can tell.
    """
    pieces = min(stretch.rows, max(ceil(stretch.rows / rows), ceil(stretch.bytes / size)))
    sizes = [(stretch.rows + place) // pieces for place in range(pieces)]
    starts = accumulate(sizes, initial=stretch.first_row)
    return [Shard(stretch.file, start, end - start, stretch) for start, end in pairwise(starts)]

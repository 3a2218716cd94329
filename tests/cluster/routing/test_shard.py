"""Shards cover a file once, in order, and depend on nothing but its row groups."""

import subprocess
import sys
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.files.parquet import RowGroup, row_groups
from cluster.files.source import SeenFile, find_files
from cluster.routing.shard import Shard, shards, stretches
from cluster.routing.work import StretchReader

GROUPS = st.lists(st.integers(0, 40), max_size=12)


def cut(groups: list[RowGroup], *, rows: int, size: int = 1 << 40) -> list[Shard]:
    found = stretches(groups, file=0, rows=rows)
    return [shard for stretch in found for shard in shards(stretch, rows=rows, size=size)]


@given(GROUPS, st.integers(1, 50), st.integers(1, 2000))
def test_every_row_is_in_one_shard(sizes, rows, size) -> None:
    groups = [RowGroup(height, 10 * height) for height in sizes]
    found = cut(groups, rows=rows, size=size)
    assert [row for s in found for row in range(s.first_row, s.first_row + s.rows)] == list(
        range(1, sum(sizes) + 1)
    )
    assert all(1 <= shard.rows <= rows for shard in found)
    assert all(shard.rows == 1 or 10 * (shard.rows - 1) <= size for shard in found)
    assert [shard.key for shard in found] == sorted({shard.key for shard in found})


@given(GROUPS, st.integers(1, 50))
def test_small_row_groups_are_read_together_and_large_ones_alone(sizes, rows) -> None:
    found = list(stretches([RowGroup(height, height) for height in sizes], file=0, rows=rows))
    assert [group for stretch in found for group in stretch.groups] == list(
        range(len([group for stretch in found for group in stretch.groups]))
    )
    assert all(len(stretch.groups) == 1 or stretch.rows <= rows for stretch in found)
    together = pairwise(found)
    assert all(one.rows + sizes[two.groups[0]] > rows for one, two in together)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [3, 4, 5, 0, 1, 2], [5, 2, 0, 4, 1, 3]])
def test_rows_are_read_right_in_any_order(tmp_path, order) -> None:
    rows = pl.DataFrame({"id": range(53), "text": [f"query {n}" for n in range(53)]})
    rows.write_parquet(tmp_path / "in.parquet", row_group_size=30)
    [source] = find_files(str(tmp_path / "in.parquet"))
    found = cut(row_groups(source), rows=10)
    assert len(found) == 6
    reader = StretchReader([SeenFile(source, source.stamp())])
    read = {number: reader.read(found[number]) for number in order}
    batches = [read[number] for number in range(6)]
    assert [batch.first_row for batch in batches] == [shard.first_row for shard in found]
    whole = pl.concat(batch.frame for batch in batches)
    assert whole["__row__"].to_list() == list(range(1, 54))
    assert whole.drop("__row__").equals(rows)


SKIPS = """
import re, sys
from pathlib import Path
from cluster.files.parquet import row_groups
from cluster.files.source import SeenFile, find_files
from cluster.routing.shard import shards, stretches
from cluster.routing.work import StretchReader

[source] = find_files(sys.argv[1])
[stretch] = stretches(row_groups(source), file=0, rows=4000)
cut = shards(stretch, rows=4000, size=2**40)
for order in (cut, cut[-1:]):
    reader = StretchReader([SeenFile(source, source.stamp())])
    for shard in order:
        reader.read(shard)
    print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def test_a_reader_that_begins_far_inside_a_row_group_holds_no_more_than_one_that_reads_on(
    tmp_path,
) -> None:
    """KiB at the peak: those skipped are 100 MB."""
    texts = [f"{n} " + "lorem ipsum dolor " * 70 for n in range(80_000)]
    rows = pl.DataFrame({"text": texts})
    rows.write_parquet(tmp_path / "in.parquet", row_group_size=rows.height)
    words = [sys.executable, "-c", SKIPS, str(tmp_path / "in.parquet")]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    reading, skipping = map(int, told.split())
    assert skipping - reading < rows.estimated_size() / 4 / 1024


def test_a_file_that_is_written_again_meanwhile_is_not_read_on(tmp_path) -> None:
    rows = pl.DataFrame({"text": [f"query {n}" for n in range(40)]})
    rows.write_parquet(tmp_path / "in.parquet", row_group_size=20)
    [source] = find_files(str(tmp_path / "in.parquet"))
    first, *_, last = cut(row_groups(source), rows=10)
    reader = StretchReader([SeenFile(source, source.stamp())])
    assert reader.read(first).frame.height == 10
    rows.head(39).write_parquet(tmp_path / "in.parquet", row_group_size=20)
    with pytest.raises(InputError, match=r"in\.parquet: was changed while it was being read"):
        reader.read(last)

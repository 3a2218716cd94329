"""Query files from strangers: rows, or a refusal in words; never a crash, never all the memory."""

import contextlib
import gzip
import io
import struct
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.errors import InputError, LakeError
from cluster.files.reader import read_batches, read_schema
from cluster.files.source import find_files
from cluster.lake.lake import Lake
from cluster.lake.plan import plan_candidate, required_samples
from cluster.lake.tables import COMPLETIONS


def parquet() -> bytes:
    buffer = io.BytesIO()
    columns = {"text": ["one ü", "two"] * 50, "l": [[1]] * 100, "s": [{"inner": 1}] * 100}
    pl.DataFrame(columns).write_parquet(buffer, compression="uncompressed")
    return buffer.getvalue()


GOOD = parquet()


def read(path: Path) -> int:
    (source,) = find_files(str(path))
    return sum(batch.frame.height for batch in read_batches(source, rows_per_batch=64))


def damaged(content: bytes, *, places: list[tuple[int, int]]) -> bytes:
    """The bytes with some changed, most of them in the footer, at the end."""
    found = bytearray(content)
    for back, value in places:
        found[len(found) - 1 - back % len(found)] = value
    return bytes(found)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, 1_500), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_parquet_file_is_read_or_refused(tmp_path: Path, places) -> None:
    file = tmp_path / "q.parquet"
    file.write_bytes(damaged(GOOD, places=places))
    with contextlib.suppress(InputError):
        assert read(file) >= 0


@pytest.mark.parametrize("name", [b"text", b"inner"])
def test_a_column_whose_name_is_no_text_is_refused(tmp_path: Path, name: bytes) -> None:
    """polars panics at one inside a struct, which is no `Exception`."""
    file = tmp_path / "q.parquet"
    file.write_bytes(GOOD.replace(name, b"\xff" * len(name)))
    for look in (read, lambda path: read_schema(find_files(str(path))[0])):
        with pytest.raises(InputError, match=r"q\.parquet: damaged"):
            look(file)


@pytest.mark.parametrize("length", [0, 2**31 - 1, 2**32 - 1])
def test_a_footer_that_lies_about_its_length_is_refused(tmp_path: Path, length: int) -> None:
    file = tmp_path / "q.parquet"
    file.write_bytes(GOOD[:-8] + struct.pack("<I", length) + b"PAR1")
    with pytest.raises(InputError, match="damaged or not Parquet"):
        read(file)


@pytest.mark.parametrize("name", ["q.jsonl.gz", "q.csv.gz"])
def test_a_bomb_of_one_line_is_refused_before_it_is_whole(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kilobytes that say many MB, in one line; memory holds a line of the limit at most."""
    monkeypatch.setattr("cluster.files.stream.MAX_RECORD_BYTES", 8 * 2**20)
    file = tmp_path / name
    with gzip.open(file, "wb", compresslevel=9) as stream:
        stream.write(b"text\n" if "csv" in name else b'{"text": "')
        for _ in range(30):
            stream.write(b"x" * 2**20)
    assert file.stat().st_size < 2**16
    with pytest.raises(InputError, match="longer than 8 MiB"):
        read(file)


@pytest.mark.parametrize("damage", ["cut", "columns", "name"])
def test_a_hostile_shard_is_named_and_nothing_of_it_is_committed(
    tmp_path: Path, damage: str
) -> None:
    lake = Lake.open(tmp_path)
    shard = Path(lake.table_uri(COMPLETIONS), "candidate_id=c", "shard-planted.parquet")
    shard.parent.mkdir(parents=True)
    content = {"cut": GOOD[:-9], "columns": GOOD, "name": GOOD.replace(b"inner", b"\xff" * 5)}
    shard.write_bytes(content[damage])
    required = required_samples(pl.Series(["a"]), samples=1)
    with pytest.raises(LakeError, match="shard-planted"):
        plan_candidate(required, lake=lake, candidate_id="c")
    assert lake.read(COMPLETIONS).is_empty()

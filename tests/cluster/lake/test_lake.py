"""Opening a lake, its schema version, what it shows, and reading it as it was."""

import json
from pathlib import Path

import polars as pl
import pytest

from cluster.errors import InputError, LakeError
from cluster.lake.commit import append_new
from cluster.lake.lake import LAKE_VARIABLE, MARKER, Lake
from cluster.lake.tables import COMPLETIONS, QUERIES, SCHEMA_VERSION, TABLES, TAGS


def tags(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"query_id": ids, "tagger_id": "t", "tag": "x"}, schema=TAGS.schema)


def mark(root: str, content: bytes) -> None:
    lake = Lake.open(root)
    lake.storage.write(lake.storage.join(MARKER), content)


def test_a_new_lake_says_its_schema_version_and_opens_again(root: str) -> None:
    lake = Lake.open(root)
    marker = json.loads(lake.storage.read_bytes(lake.storage.join(MARKER)))
    assert marker["schema_version"] == SCHEMA_VERSION
    assert Lake.open(root) == Lake.open(root, create=False) == lake
    assert lake.summaries() == []


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (SCHEMA_VERSION + 1, "install a newer signalbox"),
        (0, "collect into a new one: --lake"),
    ],
)
def test_a_lake_of_another_schema_version_is_refused_with_what_to_do(
    root: str, version: int, told: str
) -> None:
    mark(root, json.dumps({"schema_version": version}).encode())
    for create in (True, False):
        with pytest.raises(LakeError, match=rf"schema version {version}.*{told}"):
            Lake.open(root, create=create)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b"{}", b'{"schema_version": "one"}', b'{"a": 1}', b"\xff"],
)
def test_a_damaged_marker_is_named(root: str, content: bytes) -> None:
    mark(root, content)
    with pytest.raises(LakeError, match=rf"{MARKER}: is not a lake's marker.*is --lake right"):
        Lake.open(root)


def test_looking_at_a_lake_makes_none(root: str) -> None:
    with pytest.raises(LakeError, match=r"there is no lake here.*--lake.*signalbox collect"):
        Lake.open(root, create=False)
    assert not Path(root).exists()
    lake = Lake.open(root)
    assert [uri for uri, _ in lake.storage.list(lake.storage.uri)] == [lake.storage.join(MARKER)]


def test_without_an_address_the_environment_s_lake_is_meant_then_the_folder_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(LAKE_VARIABLE, raising=False)
    assert Lake.open("").storage.uri == str(tmp_path / "lake")
    monkeypatch.setenv(LAKE_VARIABLE, str(tmp_path / "named"))
    assert Lake.open("").storage.uri == str(tmp_path / "named")
    assert Lake.open(tmp_path / "given").storage.uri == str(tmp_path / "given")


def test_an_address_nothing_can_be_under_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeError, match="file"):
        Lake.open(tmp_path / "file")
    with pytest.raises(InputError, match="gs://"):
        Lake.open("gs://bucket/lake")


def test_every_table_is_made_empty_with_its_columns(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    for table in TABLES.values():
        rows = lake.read(table)
        assert rows.height == 0
        assert dict(rows.schema) == table.schema
    assert lake.versions([QUERIES, TAGS]) == {"queries": 0, "tags": 0}
    assert {(shown.table, shown.rows) for shown in lake.summaries()} == {(n, 0) for n in TABLES}


def test_a_summary_counts_rows_versions_files_and_bytes(root: str) -> None:
    lake = Lake.open(root)
    append_new(tags("a", "b"), lake=lake, table=TAGS)
    append_new(tags("c"), lake=lake, table=TAGS)
    lake.handle(COMPLETIONS)
    shown = {summary.table: summary for summary in lake.summaries()}
    assert set(shown) == {"tags", "completions"}
    assert (shown["tags"].rows, shown["tags"].version, shown["tags"].files) == (3, 2, 2)
    folder = lake.storage.list(lake.table_uri(TAGS))
    parquet = [size for uri, size in folder if uri.endswith(".parquet") and "_delta_log" not in uri]
    assert shown["tags"].bytes == sum(parquet)
    assert (shown["completions"].rows, shown["completions"].files) == (0, 0)


def test_a_pinned_version_is_read_as_it_was(root: str) -> None:
    lake = Lake.open(root)
    append_new(tags("a"), lake=lake, table=TAGS)
    pinned = lake.version(TAGS)
    append_new(tags("b"), lake=lake, table=TAGS)
    assert sorted(lake.read(TAGS)["query_id"]) == ["a", "b"]
    assert lake.read(TAGS, version=pinned)["query_id"].to_list() == ["a"]
    assert lake.scan(TAGS, version=0).collect().height == 0


def test_a_table_whose_log_is_damaged_is_named(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    append_new(tags("a"), lake=lake, table=TAGS)
    for entry in (tmp_path / "lake/tags/_delta_log").glob("*.json"):
        entry.write_text("{broken")
    with pytest.raises(LakeError, match="tags: cannot be opened as a Delta table"):
        lake.read(TAGS)

"""A watched folder: each file once, one that may not be whole later."""

import os
from pathlib import Path

import pytest

from cluster.errors import InputError
from cluster.nightly.watched import look, opened
from cluster.storage import Storage

NOW = 1_800_000_000.0


def put(root: str, name: str, content: str = '{"text": "a"}\n', *, age: float = 3600.0) -> str:
    place = Storage.at(root)
    uri = place.join(name)
    place.write(uri, content.encode())
    if not place.is_s3:
        os.utime(uri, (NOW - age, NOW - age))
    return uri


def test_new_files_are_those_not_taken_with_this_stamp(root: str) -> None:
    first = put(root, "watch/a.jsonl")
    put(root, "watch/.hidden.jsonl")
    put(root, "watch/notes.txt")
    put(root, "watch/deeper/b.jsonl")
    seen = look(f"{root}/watch", taken=set(), settle_seconds=60, now=NOW)
    assert [file.uri for file in seen.new] == [first]
    taken = {(file.uri, file.stamp) for file in seen.new}
    assert look(f"{root}/watch", taken=taken, settle_seconds=60, now=NOW).new == ()
    put(root, "watch/a.jsonl", '{"text": "a"}\n{"text": "b"}\n')
    again = look(f"{root}/watch/*.jsonl", taken=taken, settle_seconds=60, now=NOW)
    assert [file.uri for file in again.new] == [first]
    assert again.new != seen.new


def test_a_file_that_may_not_be_whole_is_left(tmp_path: Path) -> None:
    root = str(tmp_path)
    young, empty = put(root, "young.jsonl", age=5), put(root, "empty.jsonl", "")
    future = put(root, "future.jsonl", age=-3600)
    seen = look(root, taken=set(), settle_seconds=60, now=NOW)
    assert [file.uri for file in seen.new] == [future]
    why = {file.uri: file.why for file in seen.left}
    assert "empty" in why[empty]
    assert "5 s ago" in why[young]
    assert [file.uri for file in look(root, taken=set(), settle_seconds=0, now=NOW).left] == [empty]


def test_a_file_that_was_written_to_since_is_not_opened(root: str) -> None:
    put(root, "watch/a.jsonl")
    [file] = look(f"{root}/watch", taken=set(), settle_seconds=0, now=NOW).new
    assert opened(file).uri == file.uri
    put(root, "watch/a.jsonl", "more")
    with pytest.raises(InputError, match="written to since"):
        opened(file)
    Storage.at(root).delete(file.uri)
    with pytest.raises(InputError, match="is gone"):
        opened(file)


def test_a_folder_that_is_not_there_is_refused_and_an_empty_prefix_is_not(
    s3_root: str, tmp_path: Path
) -> None:
    assert look(f"{s3_root}/none", taken=set(), settle_seconds=0).new == ()
    for pattern in (tmp_path / "none", tmp_path / "none" / "*.jsonl"):
        with pytest.raises(InputError, match="--watch"):
            look(str(pattern), taken=set(), settle_seconds=0)

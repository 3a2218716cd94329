import hashlib

import pytest

from cluster.errors import InputError, LakeError
from cluster.files.source import file_format, find_files
from cluster.storage import Storage


def names(files):
    return [file.uri.rsplit("/", 1)[-1] for file in files]


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jsonl", "a.csv.gz", "c.parquet", "_SUCCESS", ".hidden.csv", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "d.csv").write_bytes(b"x")
    return tmp_path


def test_a_folder_gives_its_readable_files_sorted(folder):
    assert names(find_files(str(folder))) == ["a.csv.gz", "b.jsonl", "c.parquet"]


def test_a_glob_gives_what_matches(folder):
    assert names(find_files(f"{folder}/[bc].*")) == ["b.jsonl", "c.parquet"]


def test_a_file_whose_name_looks_like_a_glob_is_itself(tmp_path):
    (tmp_path / "x[1].csv").write_bytes(b"a\n")
    (tmp_path / "x1.csv").write_bytes(b"a\n")
    assert names(find_files(f"{tmp_path}/x[1].csv")) == ["x[1].csv"]


def test_relative_paths_become_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert find_files("b.jsonl")[0].uri == str(folder / "b.jsonl")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("q.parquet", ("parquet", "none")),
        ("q.jsonl", ("jsonl", "none")),
        ("Q.NDJSON.GZ", ("jsonl", "gz")),
        ("q.csv.zst", ("csv", "zst")),
        ("q.v2.tsv", ("tsv", "none")),
    ],
)
def test_format_by_extension(name, expected):
    assert file_format(f"s3://b/{name}") == expected


@pytest.mark.parametrize("name", ["q.json", "q.txt", "q.gz", "q", "csv", ".csv", "q.parquet.gz"])
def test_unknown_extension_names_the_file(name):
    with pytest.raises(InputError, match=f"/d/{name}"):
        file_format(f"/d/{name}")


def test_missing_file_and_glob_without_match(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.csv: no such file"):
        find_files(f"{tmp_path}/nothing.csv")
    with pytest.raises(InputError, match=r"\*.csv: no such file"):
        find_files(f"{tmp_path}/*.csv")
    with pytest.raises(InputError, match="no readable file"):
        find_files(str(tmp_path))


def test_empty_file(tmp_path):
    (tmp_path / "q.csv").touch()
    with pytest.raises(InputError, match=r"q.csv: the file is empty"):
        find_files(f"{tmp_path}/q.csv")


def test_digest_is_that_of_the_content(tmp_path):
    content = b"text\n" + b"x" * 5_000_000
    (tmp_path / "q.csv").write_bytes(content)
    (source,) = find_files(f"{tmp_path}/q.csv")
    assert source.digest() == hashlib.sha256(content).hexdigest()
    assert source.size == len(content)


def test_s3_gives_the_same_as_local(folder, bucket):
    storage = Storage.at(f"{bucket}/in")
    for path in sorted(folder.glob("*.*")):
        storage.write(storage.join(path.name), path.read_bytes())
    for pattern in ("", "/b.jsonl", "/*.parquet"):
        local, remote = find_files(f"{folder}{pattern}"), find_files(f"{bucket}/in{pattern}")
        assert names(remote) == names(local)
        assert [file.digest() for file in remote] == [file.digest() for file in local]
        assert all(file.uri.startswith(f"{bucket}/in/") for file in remote)


def test_s3_trouble_is_told(bucket, monkeypatch):
    with pytest.raises(InputError, match="no such file"):
        find_files(f"{bucket}/nothing.csv")
    with pytest.raises(LakeError, match="does not exist"):
        find_files("s3://no-such-bucket-here/q.csv")

"""Storage: a local folder and S3 behave alike, and every library reads and writes with it."""

import io
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.errors import InputError, LakeError
from cluster.s3_options import S3Options
from cluster.storage import Storage

ODD_NAMES = [
    "with space",
    "plus+sign",
    "100%",
    "a%20b",
    "key=value",
    "ümläut-日本",
    "e\u0301",
    "hash#tag",
    "question?mark",
    "[a-z]*",
    "quote'\"",
    "a.b,c;d@e&f",
]
FRAME = pl.DataFrame({"a": [1, 2], "b": ["x", None]})


@pytest.fixture
def storage(root: str) -> Storage:
    return Storage.at(root)


def test_what_is_written_is_read(storage: Storage) -> None:
    uri = storage.join("runs", "x", "spec.json")
    assert storage.read_bytes_or_none(uri) is None
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(uri)
    storage.write(uri, b"\x00one")
    assert storage.read_bytes(uri) == b"\x00one"
    storage.write(uri, b"")
    assert storage.read_bytes_or_none(uri) == b""


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_is_kept_as_it_is(storage: Storage, name: str) -> None:
    uris = [storage.join(name, "new"), storage.join(name, "replaced")]
    storage.write_new(uris[0], b"one")
    storage.write(uris[1], b"three")
    assert storage.list(storage.join(name)) == [(uris[0], 3), (uris[1], 5)]
    assert [storage.read_bytes(uri) for uri in uris] == [b"one", b"three"]
    with pytest.raises(FileExistsError):
        storage.write_new(uris[0], b"two")
    storage.delete(uris[0])
    assert storage.list(storage.uri) == [(uris[1], 5)]


def test_what_is_fleeting_is_read_and_replaced_as_well(storage: Storage) -> None:
    uri = storage.join("run", "sign")
    for content in (b"one", b"two"):
        storage.write_fleeting(uri, content)
        assert storage.read_bytes(uri) == content
    assert storage.list(storage.uri) == [(uri, 3)]
    assert [entry.uri for entry in storage.entries(storage.uri)] == [uri]


class Slow(BaseHTTPRequestHandler):
    """A store that asks everybody to come back later."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def do_PUT(self) -> None:
        self.asked.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        text = b"<Error><Code>SlowDown</Code><Message>later</Message></Error>"
        self.send_response(503)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *words: object) -> None:
        """Nothing is said."""


def test_a_store_in_trouble_is_asked_twice_for_what_is_fleeting(
    s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        try:
            with pytest.raises(OSError, match="later"):
                Storage.at(s3_root).write_fleeting(f"{s3_root}/sign", b"one")
        finally:
            server.shutdown()
    assert len(Slow.asked) == 2


def test_a_store_that_is_silent_is_not_waited_for_with_what_is_fleeting(
    s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.storage.FLEETING_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(TimeoutError):
            Storage.at(s3_root).write_fleeting(f"{s3_root}/sign", b"one")


def test_one_of_eight_writers_creates_and_the_others_are_told(storage: Storage) -> None:
    rounds, writers = 5, 8
    barrier = threading.Barrier(writers)

    def create(writer: int) -> list[bool]:
        own, made = Storage.at(storage.uri), []
        for number in range(rounds):
            barrier.wait()
            try:
                own.write_new(own.join("attempts", f"{number}"), f"{writer}".encode() * 1000)
                made.append(True)
            except FileExistsError:
                made.append(False)
        return made

    with ThreadPoolExecutor(writers) as pool:
        made = list(pool.map(create, range(writers)))
    winners = [[writer for writer in range(writers) if made[writer][n]] for n in range(rounds)]
    assert [len(names) for names in winners] == [1] * rounds
    for number, [winner] in enumerate(winners):
        content = storage.read_bytes(storage.join("attempts", f"{number}"))
        assert content == f"{winner}".encode() * 1000
    assert len(storage.list(storage.uri)) == rounds


def test_a_reader_sees_the_old_or_the_new_object_whole(storage: Storage) -> None:
    uri = storage.join("progress.json")
    versions = {letter * 200_000 for letter in (b"a", b"b")}
    storage.write(uri, b"a" * 200_000)
    stop = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(storage.read_bytes(uri))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for number in range(20):
            storage.write(uri, (b"b" if number % 2 else b"a") * 200_000)
        stop.set()
        for reader in readers:
            reader.result()
    assert seen <= versions
    assert storage.list(storage.uri) == [(uri, 200_000)]


def test_a_listing_is_sorted_whole_and_without_files_being_written(storage: Storage) -> None:
    names = ["b", "a/z", "a/b/c", "a-1", "ab"]
    for name in [*names, "a/.hidden", ".b.123"]:
        storage.write(storage.join(name), b"x")
    below = storage.uri
    assert storage.list(below) == sorted((f"{below}/{name}", 1) for name in names)
    assert [uri for uri, _ in storage.list(storage.join("a"))] == [f"{below}/a/b/c", f"{below}/a/z"]
    assert storage.list(storage.join("nothing")) == []


def test_what_another_writes_is_in_the_next_listing(storage: Storage) -> None:
    assert storage.list(storage.uri) == []
    Storage.at(storage.uri).write(storage.join("x", "new"), b"1")
    assert storage.list(storage.uri) == [(storage.join("x", "new"), 1)]
    Storage.at(storage.uri).delete(storage.join("x", "new"))
    assert storage.list(storage.uri) == []


def test_deleting_twice_is_fine(storage: Storage) -> None:
    uri = storage.join("a", "b")
    storage.write(uri, b"x")
    storage.write(uri + "c", b"x")
    for _ in range(2):
        storage.delete(uri)
    assert storage.list(storage.uri) == [(uri + "c", 1)]


def test_a_folder_goes_with_all_that_is_in_it_and_nothing_else(storage: Storage) -> None:
    for name in ("scratch/a", "scratch/b/c", "scratch/.hidden", "scratches/d", "e"):
        storage.write(storage.join(*name.split("/")), b"x")
    storage.delete_below(storage.join("scratch"))
    assert storage.filesystem().find(storage.join("scratch")) == []
    assert [uri.rsplit("/", 1)[-1] for uri, _ in storage.list(storage.uri)] == ["e", "d"]
    storage.delete_below(storage.join("scratch"))


def test_all_who_delete_at_once_are_fine(storage: Storage) -> None:
    deleters, rounds = 4, 30 if not storage.is_s3 else 3
    barrier = threading.Barrier(deleters)

    def delete(_: int) -> None:
        for number in range(rounds):
            uri = storage.join("a", str(number))
            if barrier.wait(30) == 0:
                storage.write(uri, b"x")
            barrier.wait(30)
            storage.delete(uri)

    with ThreadPoolExecutor(deleters) as pool:
        list(pool.map(delete, range(deleters)))
    assert storage.list(storage.uri) == []


def test_polars_reads_and_writes(storage: Storage) -> None:
    uri, options = storage.join("polars.parquet"), storage.polars_options()
    storage.write(storage.join("beside"), b"")
    FRAME.write_parquet(uri, storage_options=options)
    assert pl.read_parquet(uri, storage_options=options).equals(FRAME)
    assert pl.scan_parquet(uri, storage_options=options).filter(a=2).collect().height == 1


def test_deltalake_reads_and_writes(storage: Storage) -> None:
    uri, options = storage.join("table"), storage.delta_options()
    for _ in range(2):
        write_deltalake(uri, FRAME.to_arrow(), mode="append", storage_options=options)
    handle = DeltaTable(uri, storage_options=options)
    assert handle.version() == 1
    assert pl.scan_delta(handle).collect().height == 4


def test_fsspec_reads_and_writes(storage: Storage) -> None:
    files, uri = storage.filesystem(), storage.join("fsspec.parquet")
    with files.open(uri, "wb") as stream:
        FRAME.write_parquet(stream)
    assert pl.read_parquet(io.BytesIO(storage.read_bytes(uri))).equals(FRAME)


def test_pyarrow_reads_and_writes(storage: Storage) -> None:
    files, path = storage.pyarrow_filesystem(), storage.bare(storage.join("arrow.parquet"))
    storage.write(storage.join("beside"), b"")
    pq.write_table(FRAME.to_arrow(), path, filesystem=files)
    assert pl.DataFrame(pq.read_table(path, filesystem=files)).equals(FRAME)
    uri = storage.join("arrow.parquet")
    assert uri in [found for found, _ in storage.list(storage.uri)]


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("/a/b/", "/a/b"),
        ("file:///a/b", "/a/b"),
        (Path("/a"), "/a"),
    ],
)
def test_an_address_has_one_form(given: str, uri: str) -> None:
    assert Storage.at(given).uri == uri
    assert Storage.at(uri) == Storage.at(given)


def test_a_local_address_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert Storage.at("./lake").uri == str(tmp_path / "lake")
    assert Storage.at("~/lake").uri == "/home/me/lake"


@pytest.mark.parametrize("address", ["gs://bucket/x", "s3://", "s3:///", "http://host/x"])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=address):
        Storage.at(address)


def test_a_fresh_root_passes_the_check(storage: Storage) -> None:
    storage.check()
    storage.check()


def test_a_local_root_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(LakeError, match=rf"{path}.*name another --lake"):
            Storage.at(path).check()


def test_a_missing_bucket_is_named(s3_root: str) -> None:
    with pytest.raises(
        LakeError, match=r"bucket 'never-made' at http://127.*does not exist; create it"
    ):
        Storage.at("s3://never-made/lake").check()


def test_a_store_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "k", "REGION": "r"}
    for name, value in (variables | {"SECRET_ACCESS_KEY": "hidden-word"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with pytest.raises(LakeError, match=r"127\.0\.0\.1:9.*check AWS_ENDPOINT_URL") as caught:
        Storage.at("s3://bucket/lake").check()
    assert "hidden-word" not in str(caught.value)


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-word")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "hidden-too")
    options = S3Options.from_environment()
    assert options.s3fs()["secret"] == "hidden-word"
    for shown in (repr(options), str(options), repr(Storage.at("s3://bucket/lake"))):
        assert "hidden" not in shown


def test_the_endpoint_of_s3_wins_over_the_one_of_all_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all")
    assert S3Options.from_environment().endpoint == "http://all"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3-only")
    options = S3Options.from_environment()
    assert options.object_store()["aws_endpoint_url"] == "https://s3-only"
    assert "aws_allow_http" not in options.object_store()


def test_a_local_file_is_as_readable_as_others_of_its_user(tmp_path: Path) -> None:
    storage, plain = Storage.at(tmp_path), tmp_path / "plain"
    plain.touch()
    storage.write(storage.join("a"), b"")
    storage.write_new(storage.join("b"), b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a", "b")}
    assert len(modes) == 1

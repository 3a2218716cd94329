"""Which files a user means by a path, a glob, a folder or an `s3://` address."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from cluster.errors import InputError
from cluster.storage import S3_SCHEME, Storage

Format = Literal["parquet", "jsonl", "csv", "tsv"]
Compression = Literal["none", "gz", "zst"]

FORMATS: dict[str, Format] = {
    "parquet": "parquet",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "csv": "csv",
    "tsv": "tsv",
}
COMPRESSIONS: dict[str, Compression] = {"gz": "gz", "zst": "zst"}
EXPECTED = "expected .parquet, .jsonl, .ndjson, .csv or .tsv (text ones also with .gz or .zst)"
DIGEST_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class SourceFile:
    """A file that can be read.

    Attributes:
        uri: absolute local path or `s3://` address.
        format: what is in it, by its extension.
        compression: how the whole file is packed, by its extension.
        size: bytes as stored.
    """

    uri: str
    format: Format
    compression: Compression
    size: int

    @classmethod
    def of(cls, place: Storage, *, info: dict[str, Any]) -> "SourceFile":
        """A file as a listing of its store tells of it.

        Raises:
            InputError: its extension is unknown, or it is empty.
        """
        scheme = S3_SCHEME if place.is_s3 else ""
        uri = scheme + _name(info).removeprefix(S3_SCHEME)
        kind, compression = file_format(uri)
        if not info["size"]:
            raise InputError(f"{uri}: the file is empty; write it again or leave it out")
        return cls(uri=uri, format=kind, compression=compression, size=int(info["size"]))

    @contextmanager
    def open(self) -> Iterator[Any]:
        """The stored bytes, as a seekable binary file.

        Raises:
            InputError: the file has gone or may not be read.
        """
        try:
            stored = Storage.at(self.uri).filesystem().open(self.uri, "rb")
        except (FileNotFoundError, PermissionError) as error:
            raise InputError(f"{self.uri}: cannot be read ({error}); check path and rights") from (
                error
            )
        with stored:
            yield stored

    def stamp(self) -> str:
        """What changes when the file is written again, without reading it: size and time or tag.

        Raises:
            InputError: the file has gone or may not be read.
        """
        try:
            info = Storage.at(self.uri).filesystem().info(self.uri)
        except (FileNotFoundError, PermissionError) as error:
            raise InputError(f"{self.uri}: cannot be read ({error}); check path and rights") from (
                error
            )
        return stamp_of(info)

    def digest(self) -> str:
        """sha256 in hex of the stored bytes, read once in blocks of 4 MiB."""
        total = hashlib.sha256()
        with self.open() as stored:
            while block := stored.read(DIGEST_BLOCK_BYTES):
                total.update(block)
        return total.hexdigest()


@dataclass(frozen=True)
class SeenFile:
    """A file as it was when somebody looked at it.

    Attributes:
        source: the file.
        stamp: its `SourceFile.stamp` at that moment.
    """

    source: SourceFile
    stamp: str

    def unchanged(self) -> SourceFile:
        """The file, if it still is what it was.

        Raises:
            InputError: it has gone or was written again.
        """
        if self.source.stamp() != self.stamp:
            raise InputError(f"{self.source.uri}: was changed while it was being read; run again")
        return self.source


def file_format(uri: str) -> tuple[Format, Compression]:
    """Format and compression that a name's extensions stand for.

    Raises:
        InputError: the extension is not one of ours.
    """
    name = uri.rsplit("/", 1)[-1].lower()
    stem, _, last = name.rpartition(".")
    compression = COMPRESSIONS.get(last, "none")
    if compression != "none":
        stem, _, last = stem.rpartition(".")
    if not stem or last not in FORMATS:
        hint = "; write one JSON object a line and name it .jsonl" if last == "json" else ""
        raise InputError(f"{uri}: unknown extension; {EXPECTED}{hint}")
    if FORMATS[last] == "parquet" and compression != "none":
        raise InputError(f"{uri}: Parquet is compressed inside; name it .parquet")
    return FORMATS[last], compression


def without_extension(name: str) -> tuple[str, str]:
    """A file's name in two: `day.1.csv.gz` → `day.1` and `csv.gz`.

    Raises:
        InputError: as `file_format`.
    """
    _, compression = file_format(name)
    parts = name.rsplit(".", 1 if compression == "none" else 2)
    return parts[0], ".".join(parts[1:])


def find_files(pattern: str) -> list[SourceFile]:
    """The files behind a path, a glob or a folder, local or on S3, sorted by name.

    Of a folder, the files directly in it that have a known extension; names that begin with a
    dot or an underscore are left out. A path that exists is never taken for a glob.

    Raises:
        InputError: nothing is there, an extension is unknown, or a file is empty.
        LakeError: the S3 store or bucket cannot be reached.
    """
    if not pattern.strip():
        raise InputError("no input file was named; give a file, a glob or a folder")
    place = Storage.at(pattern)
    if place.is_s3:
        Storage.at(S3_SCHEME + place.uri.removeprefix(S3_SCHEME).split("/")[0]).check()
    found = listed(pattern)
    if place.filesystem().isdir(place.uri):
        return _in_folder(place, infos=found)
    if not found:
        raise InputError(f"{place.uri}: no such file, and no file matches; check the path")
    return [SourceFile.of(place, info=info) for info in found]


def _in_folder(place: Storage, *, infos: list[dict[str, Any]]) -> list[SourceFile]:
    readable = [info for info in infos if is_readable_name(info["name"])]
    if not readable:
        raise InputError(f"{place.uri}: no readable file in this folder; {EXPECTED}")
    return [SourceFile.of(place, info=info) for info in readable]


def listed(pattern: str) -> list[dict[str, Any]]:
    """What the store tells of a file, of those directly in a folder, or that match a glob; by
    name."""
    place = Storage.at(pattern)
    files = place.filesystem()
    if files.isfile(place.uri):
        return [files.info(place.uri)]
    if files.isdir(place.uri):
        infos = files.ls(place.uri, detail=True)
    else:
        is_glob = bool(set(pattern) & set("*?["))
        infos = list(files.glob(place.uri, detail=True).values()) if is_glob else []
    return sorted((info for info in infos if info["type"] == "file"), key=_name)


def stamp_of(info: dict[str, Any]) -> str:
    """What changes when a file is written again, of what its store tells of it."""
    return f"{info['size']} {info.get('ETag') or info.get('mtime')}"


def is_readable_name(path: str) -> bool:
    """Whether a file of a folder is one of ours by its name: a known extension, not hidden."""
    if path.rsplit("/", 1)[-1].startswith((".", "_")):
        return False
    try:
        file_format(path)
    except InputError:
        return False
    return True


def _name(info: dict[str, Any]) -> str:
    return str(info["name"])

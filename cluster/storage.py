"""One place to keep things: a local folder or an `s3://` prefix.

A `Storage` travels as its URI alone: how to reach S3 is the environment's (`cluster.s3_options`).
"""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from cluster.address import names_user, refuse_user
from cluster.errors import InputError, LakeError
from cluster.failpoint import failpoint
from cluster.s3_options import USE_VARIABLES, S3Options

DEFAULT_ROOT = "./lake"
S3_SCHEME = "s3://"
# Asking whether the store is there: two tries of 5 s, so that a wrong address is told in 12 s.
CHECK_RETRIES = 2
BESIDE_BYTES = 6
# What `_beside` makes of a name. Other names with a dot in front are not ours.
BESIDE = re.compile(rf"\..+\.[0-9a-f]{{{2 * BESIDE_BYTES}}}")
# A sign of life that is late is worth nothing: another one follows in seconds.
FLEETING_RETRIES = 2
FLEETING_TIMEOUT_SECONDS = 5
# Of both tries together: a store that takes a request's head and then is silent meets no time-out.
FLEETING_SECONDS = 12


@dataclass(frozen=True)
class Entry:
    """An object: its URI, its size in bytes, and when it was last written (seconds since 1970)."""

    uri: str
    size: int
    modified: float

    @property
    def name(self) -> str:
        return self.uri.rsplit("/", 1)[-1]

    @property
    def is_unfinished(self) -> bool:
        """Whether it is what a local write makes before the object appears."""
        return BESIDE.fullmatch(self.name) is not None


@dataclass(frozen=True)
class Storage:
    """A root everything is written under.

    Attributes:
        uri: absolute local path or `s3://bucket/prefix`, without a slash at the end.
    """

    uri: str

    @classmethod
    def at(cls, uri: str | os.PathLike[str]) -> "Storage":
        """Storage at a local path, `file://` or `s3://` address.

        Raises:
            InputError: the address has another scheme, names no bucket, or holds a key.
        """
        text = os.fspath(uri)
        if names_user(text):
            refuse_user(text, what="an address of files", instead=USE_VARIABLES)
        if text.startswith(S3_SCHEME):
            if not text.removeprefix(S3_SCHEME).strip("/"):
                raise InputError(f"'{text}' names no bucket; expected s3://bucket/prefix")
            return cls(uri=text.rstrip("/"))
        if "://" in text and not text.startswith("file://"):
            raise InputError(f"'{text}': only local paths and s3:// addresses are supported")
        return cls(uri=str(Path(text.removeprefix("file://")).expanduser().absolute()))

    @property
    def is_s3(self) -> bool:
        return self.uri.startswith(S3_SCHEME)

    def join(self, *parts: str) -> str:
        """Full URI of something below the root."""
        return "/".join([self.uri, *parts])

    def filesystem(self) -> Any:
        """An fsspec file system; listings are never cached, so two processes see each other."""
        if not self.is_s3:
            return fsspec.filesystem("file", auto_mkdir=True)
        options = S3Options.from_environment().s3fs()
        return fsspec.filesystem("s3", use_listings_cache=False, **options)

    def pyarrow_filesystem(self) -> Any:
        """A pyarrow file system; its paths are those of `bare`."""
        from pyarrow import fs

        if not self.is_s3:
            return fs.LocalFileSystem()
        return fs.S3FileSystem(**S3Options.from_environment().pyarrow())

    def bare(self, uri: str) -> str:
        """A URI as pyarrow wants it: without the scheme."""
        return uri.removeprefix(S3_SCHEME)

    def polars_options(self) -> dict[str, str] | None:
        """`storage_options` of polars."""
        return S3Options.from_environment().object_store() if self.is_s3 else None

    def delta_options(self) -> dict[str, str] | None:
        """`storage_options` of deltalake; commits rely on the store's conditional PUT."""
        if not self.is_s3:
            return None
        return S3Options.from_environment().object_store() | {"conditional_put": "etag"}

    def read_bytes(self, uri: str) -> bytes:
        """Content of one object.

        Raises:
            FileNotFoundError: nothing is there.
        """
        # One request: opening it first fails when it is replaced before it is read.
        content: bytes = self.filesystem().cat_file(uri)
        return content

    def read_bytes_or_none(self, uri: str) -> bytes | None:
        """Content of one object, or None when nothing is there."""
        try:
            return self.read_bytes(uri)
        except FileNotFoundError:
            return None

    def write_new(self, uri: str, data: bytes) -> None:
        """Create an object that must not exist yet; it appears whole or not at all.

        Raises:
            FileExistsError: something is there already; it is left as it was.
        """
        with _boundary("new", uri):
            if self.is_s3:
                self.filesystem().pipe_file(uri, data, mode="create")
                return
            temporary = _write_beside(Path(uri), data)
            try:
                # link() fails when the target exists, which rename() does not.
                os.link(temporary, uri)
            finally:
                temporary.unlink()

    def write(self, uri: str, data: bytes) -> None:
        """Create or replace an object; a reader sees the old or the new one, never a part."""
        with _boundary("write", uri):
            if self.is_s3:
                self.filesystem().pipe_file(uri, data)
                return
            _write_beside(Path(uri), data).replace(uri)

    def write_fleeting(self, uri: str, data: bytes) -> None:
        """As `write`, of what is soon written anew: within 12 s on S3, or not at all.

        It is not forced to a disk, which may be busy with gigabytes of others, and a store in
        trouble is asked twice and not eight times with ever longer waits between.
        """
        with _boundary("write", uri):
            if not self.is_s3:
                temporary = _beside(Path(uri))
                try:
                    temporary.write_bytes(data)
                    temporary.replace(uri)
                finally:
                    temporary.unlink(missing_ok=True)
                return
            options = S3Options.from_environment().s3fs(
                attempts=FLEETING_RETRIES, read_timeout=FLEETING_TIMEOUT_SECONDS
            )
            files = fsspec.filesystem("s3", use_listings_cache=False, **options)
            # The library's own tries, around those of botocore.
            files.retries = 1
            files.pipe_file(uri, data, timeout=FLEETING_SECONDS)

    def copy_from(self, source: str, uri: str) -> None:
        """Create or replace an object with the content of another, from anywhere; as `write`.

        On one local disk no byte is copied: both are names of one file, which nothing writes again.
        """
        with _boundary("copy", uri):
            if not self.is_s3 and not source.startswith(S3_SCHEME):
                temporary = _beside(Path(uri))
                try:
                    os.link(source, temporary)
                except OSError:
                    pass  # another disk, or one that knows no links
                else:
                    failpoint("write.beside", of=uri)
                    temporary.replace(uri)
                    return
            if self.is_s3 and source.startswith(S3_SCHEME):
                self.filesystem().copy(source, uri)
                return
            self.write(uri, Storage.at(source).read_bytes(source))

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """(URI, size in bytes) of every object below a prefix, sorted; empty when there is none.

        Names that begin with a dot are files still being written and are left out.
        """
        found = self.filesystem().find(prefix, detail=True)
        scheme = S3_SCHEME if self.is_s3 else ""
        return sorted(
            (scheme + path, int(info["size"]))
            for path, info in found.items()
            # An empty S3 listing is followed by a look at the prefix itself, and if it has come to
            # life in between it is reported as a directory.
            if info["type"] == "file" and not path.rsplit("/", 1)[-1].startswith(".")
        )

    def entries(self, prefix: str) -> tuple[Entry, ...]:
        """Every object below a prefix with its size and age, those still being written too."""
        found = self.filesystem().find(prefix, detail=True)
        scheme = S3_SCHEME if self.is_s3 else ""
        return tuple(
            Entry(uri=scheme + path, size=int(info["size"]), modified=_modified(info))
            for path, info in sorted(found.items())
            if info["type"] == "file"
        )

    def delete(self, uri: str) -> None:
        """Remove an object; nothing there is fine."""
        # No look before it: two that delete at once would both see it.
        with _boundary("delete", uri), suppress(FileNotFoundError):
            self.filesystem().rm_file(uri)

    def delete_below(self, prefix: str) -> None:
        """Remove a folder with all that is in it; nothing there is fine."""
        with _boundary("delete", prefix), suppress(FileNotFoundError):
            self.filesystem().rm(prefix, recursive=True)

    def check(self) -> None:
        """Make sure the root can be reached and, if local, written.

        Raises:
            LakeError: it cannot; the text says what was tried.
        """
        if not self.is_s3:
            _check_folder(Path(self.uri))
            return
        endpoint = S3Options.from_environment().endpoint or "AWS"
        bucket, _, prefix = self.uri.removeprefix(S3_SCHEME).partition("/")
        try:
            _list_one(bucket, prefix=prefix)
        except FileNotFoundError as error:
            raise LakeError(
                f"{self.uri}: bucket '{bucket}' at {endpoint} does not exist; create it, or "
                "correct the address"
            ) from error
        except PermissionError as error:
            raise LakeError(
                f"{self.uri}: bucket '{bucket}' at {endpoint} may not be read ({error}); check "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        except Exception as error:
            raise LakeError(
                f"{self.uri}: the store at {endpoint} cannot be reached "
                f"({type(error).__name__}: {error}); check AWS_ENDPOINT_URL and the credentials"
            ) from error


@contextmanager
def _boundary(what: str, uri: str) -> Iterator[None]:
    """A write: a process may die before it and after it."""
    failpoint(f"{what}.before", of=uri)
    yield
    failpoint(f"{what}.after", of=uri)


def _modified(info: dict[str, Any]) -> float:
    """When an object was written, as either file system tells it."""
    return float(info["mtime"]) if "mtime" in info else float(info["LastModified"].timestamp())


def _list_one(bucket: str, *, prefix: str) -> None:
    """Ask for one name below a prefix: the least that shows whether a bucket can be read."""
    options = S3Options.from_environment().s3fs(attempts=CHECK_RETRIES)
    files = fsspec.filesystem("s3", use_listings_cache=False, **options)
    files.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)


def _write_beside(path: Path, data: bytes) -> Path:
    """Write to a hidden neighbour of `path` and force it to disk."""
    with telling_full_disk(path):
        temporary = _beside(path)
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            # A disk that is full is not left fuller.
            temporary.unlink(missing_ok=True)
            raise
    failpoint("write.beside", of=str(path))
    return temporary


@contextmanager
def telling_full_disk(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say in words for the user that a disk is full.

    Raises:
        LakeError: it is, or the user's share of it.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_full_disk(error):
            raise
        why = getattr(error, "strerror", None) or os.strerror(errno.ENOSPC)
        raise LakeError(
            f"{os.fspath(path)}: cannot be written ({why}); free some space and run again: what is "
            "done is kept"
        ) from error


def _is_of_full_disk(error: Exception) -> bool:
    """Delta's library has no number for it, and more than one type of error."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    told = any(f"(os error {number})" in str(error) for number in numbers)
    return told or (isinstance(error, OSError) and error.errno in numbers)


def _beside(path: Path) -> Path:
    """A hidden name in the same folder, which is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent / f".{path.name}.{secrets.token_hex(BESIDE_BYTES)}"


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LakeError(
            f"{folder}: cannot be created ({error.strerror}); name another --lake"
        ) from error
    if not os.access(folder, os.W_OK):
        raise LakeError(f"{folder}: is not writable; name another --lake or change its permissions")

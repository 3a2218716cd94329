"""A watched folder, glob or `s3://` prefix: which of its files are new and whole.

A file is known by its address and its stamp (size and time of writing, or the store's tag): written
again it is another one, whose queries that are in the lake already are not taken twice. One that
was written to a moment ago may not be whole yet and is left for the next look; an object on S3
appears whole.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from cluster.errors import InputError
from cluster.files.source import SourceFile, is_readable_name, listed, stamp_of
from cluster.storage import S3_SCHEME, Storage


class WatchedFile(BaseModel):
    """A file as it was when the folder was looked at.

    Attributes:
        uri: where it lies.
        stamp: `SourceFile.stamp` at that moment.
    """

    model_config = ConfigDict(frozen=True)

    uri: str
    stamp: str


class LeftFile(BaseModel):
    """A file that is not taken, and why, in words."""

    model_config = ConfigDict(frozen=True)

    uri: str
    why: str


@dataclass(frozen=True)
class Look:
    """What there is to take, by name, and what is left."""

    new: tuple[WatchedFile, ...] = ()
    left: tuple[LeftFile, ...] = ()


def look(
    pattern: str, *, taken: Collection[tuple[str, str]], settle_seconds: float, now: float = 0.0
) -> Look:
    """The files behind a pattern that were not taken yet.

    Args:
        pattern: a folder, a glob or an `s3://` prefix; a prefix with nothing in it is empty.
        taken: (uri, stamp) of those that were.
        settle_seconds: a local file that was written to less than so long ago is left.
        now: seconds since the epoch; 0 for the clock's.

    Raises:
        InputError: there is no such local folder.
        LakeError: the S3 store or bucket cannot be reached.
    """
    require_watchable(pattern)
    infos = [info for info in listed(pattern) if is_readable_name(str(info["name"]))]
    new, left = [], []
    for info in infos:
        file = _file(info, pattern=pattern)
        why = _unfinished(info, settle_seconds=settle_seconds, now=now or time.time())
        if (file.uri, file.stamp) in taken:
            continue
        if why:
            left.append(LeftFile(uri=file.uri, why=why))
        else:
            new.append(file)
    return Look(tuple(new), tuple(left))


def require_watchable(pattern: str) -> None:
    """Make sure that files could appear there.

    Raises:
        InputError: the local folder does not exist.
        LakeError: the S3 store or bucket cannot be reached.
    """
    place = Storage.at(pattern)
    if place.is_s3:
        Storage.at(S3_SCHEME + place.uri.removeprefix(S3_SCHEME).split("/")[0]).check()
        return
    fixed = place.uri
    while set(fixed) & set("*?["):
        fixed = fixed.rpartition("/")[0] or "/"
    if not place.filesystem().exists(fixed):
        raise InputError(
            f"--watch {place.uri}: {fixed} does not exist; make the folder, or name another"
        )


def opened(file: WatchedFile) -> SourceFile:
    """The file, if it still is what it was.

    Raises:
        InputError: it is gone, or was written to since.
    """
    place = Storage.at(file.uri)
    files = place.filesystem()
    if not files.exists(file.uri):
        raise InputError(f"{file.uri}: is gone")
    source = SourceFile.of(place, info=files.info(file.uri))
    if source.stamp() != file.stamp:
        raise InputError(f"{file.uri}: was written to since the folder was looked at")
    return source


def _file(info: dict[str, Any], *, pattern: str) -> WatchedFile:
    scheme = S3_SCHEME if Storage.at(pattern).is_s3 else ""
    uri = scheme + str(info["name"]).removeprefix(S3_SCHEME)
    return WatchedFile(uri=uri, stamp=stamp_of(info))


def _unfinished(info: dict[str, Any], *, settle_seconds: float, now: float) -> str:
    """Why a file is not whole as far as can be told without reading it; empty where it may be."""
    if not info["size"]:
        return "is empty as yet"
    age = now - float(info.get("mtime", -1e18))
    # A time to come is another clock's, and says nothing.
    if 0 <= age < settle_seconds:
        return (
            f"was written to {age:.0f} s ago, less than the {settle_seconds:g} s it is left alone"
        )
    return ""

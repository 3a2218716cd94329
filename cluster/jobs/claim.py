"""Whose an output is: the work that wrote it last.

outputs/<digest of the address>     in the lake: {"work": …, "run": …, "files": [name, …]}
"""

import json
from collections.abc import Collection
from typing import Any

from cluster.errors import InputError
from cluster.jobs.run import Run
from cluster.query import digest
from cluster.storage import Storage


def owner(output: str, *, lake: Storage) -> str | None:
    """The work that wrote, or began to write, what is at an output; None for nobody's."""
    claimed = _read(output, lake=lake)
    return str(claimed["work"]) if claimed else None


def claim(output: str, *, work: str, run: Run, files: Collection[str] = ()) -> None:
    """Make an output this work's, before its first byte is written.

    The run that wrote it before counts as undone from now on: its manifest tells of what is there
    no more, though something of that name is.

    Args:
        output: address of the file or folder.
        work: whose it becomes; runs of the same work may replace each other's outputs.
        run: the run that writes it.
        files: names of what is written next into a folder; they come to those claimed before.
    """
    lake = run.storage
    before = _read(output, lake=lake)
    if before and before["run"] != run.work_id:
        lake.delete(lake.join("runs", before["run"], "manifest.json"))
    _write(output, work=work, run=run, files={*before.get("files", []), *files})


def refuse_lost_claim(output: str, *, work: str, lake: Storage) -> None:
    """Make sure an output is still this work's, and nobody has begun to replace it.

    Raises:
        InputError: another work has claimed it since.
    """
    if owner(output, lake=lake) != work:
        raise InputError(
            f"{output}: another run has begun to write there meanwhile, so this one stops; name "
            "another --output, or run this again with --overwrite when that one is through"
        )


def remove_replaced(output: str, *, kept: Collection[str], work: str, run: Run) -> None:
    """Remove the files in a folder that runs before have left there; all else is left alone.

    Args:
        output: address of the folder, claimed.
        kept: names of the files that are the output now.
        work: whose it is.
        run: the run that wrote it.
    """
    place = Storage.at(output)
    for name in set(_read(output, lake=run.storage).get("files", [])) - set(kept):
        place.delete(place.join(name))
    _write(output, work=work, run=run, files=kept)


def refuse_foreign_files(output: str, *, lake: Storage) -> None:
    """Make sure a folder has no files but those that runs of this lake have written there.

    Raises:
        InputError: it has; the text names one.
    """
    place = Storage.at(output)
    own = {place.join(name) for name in _read(output, lake=lake).get("files", [])}
    foreign = [uri for uri, _ in place.list(place.uri) if uri not in own]
    if foreign:
        raise InputError(
            f"{foreign[0]}: is in the way and no file of an earlier output, so it is neither "
            "replaced nor mixed with others; move it away, or name another --output"
        )


def _read(output: str, *, lake: Storage) -> dict[str, Any]:
    content = lake.read_bytes_or_none(_uri(output, lake=lake))
    found: dict[str, Any] = json.loads(content) if content else {}
    return found


def _write(output: str, *, work: str, run: Run, files: Collection[str]) -> None:
    claimed = {"work": work, "run": run.work_id, "files": sorted(files)}
    run.storage.write(_uri(output, lake=run.storage), json.dumps(claimed).encode())


def _uri(output: str, *, lake: Storage) -> str:
    return lake.join("outputs", digest(["output", Storage.at(output).uri]))

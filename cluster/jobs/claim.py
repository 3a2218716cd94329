"""Whose an output is: the work that wrote it last.

outputs/<digest of the address>     in the lake: {"work": …, "run": …}
"""

import json

from cluster.jobs.run import Run
from cluster.query import digest
from cluster.storage import Storage


def owner(output: str, *, lake: Storage) -> str | None:
    """The work that wrote, or began to write, what is at an output; None for nobody's."""
    content = lake.read_bytes_or_none(_uri(output, lake=lake))
    return str(json.loads(content)["work"]) if content else None


def claim(output: str, *, work: str, run: Run) -> None:
    """Make an output this work's, before its first byte is written.

    The run that wrote it before counts as undone from now on: its manifest tells of what is there
    no more, though something of that name is.

    Args:
        output: address of the file or folder.
        work: whose it becomes; runs of the same work may replace each other's outputs.
        run: the run that writes it.
    """
    lake = run.storage
    content = lake.read_bytes_or_none(_uri(output, lake=lake))
    before = json.loads(content)["run"] if content else run.work_id
    if before != run.work_id:
        lake.delete(lake.join("runs", before, "manifest.json"))
    claimed = {"work": work, "run": run.work_id}
    lake.write(_uri(output, lake=lake), json.dumps(claimed).encode())


def _uri(output: str, *, lake: Storage) -> str:
    return lake.join("outputs", digest(["output", Storage.at(output).uri]))

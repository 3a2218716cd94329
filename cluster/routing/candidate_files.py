"""One OpenAI batch file a candidate, beside the output: `routed.batches/<candidate>.jsonl`.

For an endpoint's candidate there are several, each as long as OpenAI's own API takes it; a local
runner would load the model for every one of them, so it gets a single file.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import polars as pl

from cluster.candidate import Candidate
from cluster.errors import InputError
from cluster.files.source import without_extension
from cluster.files.writer import whole_file
from cluster.jobs.claim import claim, owner, refuse_foreign_files, remove_replaced
from cluster.jobs.run import Run
from cluster.routing.output import is_file, refuse_inputs, refuse_what_is_there
from cluster.routing.spec import RouteSpec
from cluster.routing.store import Store
from cluster.routing.summary import ShardSummary
from cluster.storage import Storage

# https://platform.openai.com/docs/guides/batch: of one file.
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def batches_uri(output: str) -> str:
    """`routed.csv.gz`, and a folder `routed` → `routed.batches`."""
    uri = Storage.at(output).uri
    if not is_file(uri):
        return f"{uri}.batches"
    folder, name = uri.rsplit("/", 1)
    return f"{folder}/{without_extension(name)[0]}.batches"


def refuse_batches_that_are_there(spec: RouteSpec, *, run: Run) -> None:
    """Never mix two runs' requests.

    Raises:
        InputError: something else is in the folder they go to.
    """
    folder = batches_uri(spec.output)
    if not spec.served:
        return
    refuse_inputs(folder, inputs=(file.uri for file in spec.files))
    if not spec.overwrite and owner(folder, lake=run.storage) != run.work_id:
        refuse_what_is_there(folder)
    else:
        refuse_foreign_files(folder, lake=run.storage)


def publish_batches(
    summaries: Sequence[ShardSummary], *, spec: RouteSpec, store: Store, run: Run
) -> dict[str, list[str]]:
    """Write the files, if any are wanted; returns their addresses by candidate's name.

    Lines stand in the rows' order. A file appears when it is whole; a shard is in memory at a time.

    Raises:
        InputError: they cannot be written.
    """
    if not spec.served:
        return {}
    folder = Storage.at(batches_uri(spec.output))
    claims = partial(claim, folder.uri, work=run.work_id, run=run)
    claims()
    try:
        with ExitStack() as stack:
            files = _opened(spec.served, folder=folder, own=claims, stack=stack)
            for summary in summaries:
                lines = store.read_beside(summary.key, what="lines")
                for (name,), own in lines.partition_by("candidate", as_dict=True).items():
                    files[str(name)].write(own["line"])
    except OSError as error:
        raise InputError(
            f"{folder.uri}: cannot be written ({error}); name another --output"
        ) from error
    names = [name for one in files.values() for name in one.names]
    remove_replaced(folder.uri, kept=names, work=run.work_id, run=run)
    return {
        name: [folder.join(file) for file in one.names] for name, one in files.items() if one.names
    }


@dataclass
class _Files:
    """The files of one candidate, the last of which is open.

    Attributes:
        own: claims the names of files.
        names: of those that were opened.
    """

    folder: Storage
    stem: str
    is_split: bool
    own: Callable[..., None]
    stack: ExitStack
    names: list[str] = field(default_factory=list)
    stream: Any = None
    requests: int = 0
    size: int = 0

    def write(self, lines: pl.Series) -> None:
        for piece in self._pieces(lines):
            self.stream.write(piece)

    def _pieces(self, lines: pl.Series) -> Iterator[bytes]:
        """What goes into the file that is open, which changes where it is full."""
        for line in lines:
            full = self.requests == MOST_REQUESTS or self.size + len(line) > MOST_BYTES
            if self.stream is None or (self.is_split and full):
                self._open_next()
            self.requests, self.size = self.requests + 1, self.size + len(line)
            yield line

    def _open_next(self) -> None:
        self.stack.close()
        number = f"-{len(self.names) + 1:05d}" if self.is_split else ""
        name = f"{self.stem}{number}.jsonl"
        self.own(files=[name])
        self.stream = self.stack.enter_context(whole_file(Storage.at(self.folder.join(name))))
        self.names.append(name)
        self.requests = self.size = 0


def _opened(
    served: Mapping[str, Candidate | None],
    *,
    folder: Storage,
    own: Callable[..., None],
    stack: ExitStack,
) -> dict[str, _Files]:
    files: dict[str, _Files] = {}
    for (name, candidate), stem in zip(served.items(), file_stems(list(served)), strict=True):
        is_split = candidate is not None and candidate.endpoint is not None
        files[name] = _Files(folder, stem, is_split, own, stack.enter_context(ExitStack()))
    return files


def file_stems(names: Sequence[str]) -> list[str]:
    """Names of files for candidates, no two alike where case does not count."""
    stems: list[str] = []
    for name in names:
        stem = _UNSAFE.sub("_", name).strip(".") or "_"
        while stem.lower() in (one.lower() for one in stems):
            stem += "_"
        stems.append(stem)
    return stems

"""Broken rows: kept in a file with their reasons, and judged against the error budget."""

import logging
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

from cluster.errors import InputError
from cluster.files.batch import BROKEN_SCHEMA, Batch
from cluster.files.writer import whole_file
from cluster.storage import Storage, telling_full_disk

LOG = logging.getLogger("signalbox.files")
MAX_ERROR_SHARE = 0.05
ROWS_SHOWN = 3
RAW_SHOWN = 80
# Past this many broken rows, if they are also the majority, it is the wrong file: stop reading.
HOPELESS_ROWS = 10_000


def is_hopeless(broken: int, *, rows: int) -> bool:
    """Whether so many rows are broken that the rest need not be looked at."""
    return broken > HOPELESS_ROWS and broken > rows / 2


class Quarantine:
    """Collects the broken rows of a run; use as a context manager, then `finish`.

    Rows wait in a temporary file, so memory does not grow with them. The quarantine file appears
    whole, in `finish`, whether the budget holds or not; without broken rows an older one of the
    same name is removed.

    The budget is a share and nothing else: one broken row of three is 33 % and fails, because in
    a small file every row was meant; one of a hundred passes at 5 %. No good row at all fails.
    """

    def __init__(
        self,
        uri: str,
        *,
        max_error_share: float = MAX_ERROR_SHARE,
        empty: str = "no row can be used",
    ) -> None:
        """Rows go to `uri` (JSON Lines: file, row, reason, raw), local or on S3.

        `empty` is said where every row is broken, though the budget allows as many.
        """
        self.uri = uri
        self.max_error_share = max_error_share
        self.empty = empty
        self.rows = 0
        self.broken = 0
        self._first = pl.DataFrame(schema=BROKEN_SCHEMA)
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._spool.close()

    def add(self, batch: Batch) -> None:
        """Count a batch's rows and keep its broken ones.

        Raises:
            InputError: more than 10,000 rows and more than half of all so far are broken.
        """
        self.count(batch.frame.height + batch.broken.height, broken=batch.broken)

    def count(self, rows: int, *, broken: pl.DataFrame | None) -> None:
        """The same of `rows` rows, the broken ones among them given; None for none.

        Raises:
            InputError: as `add`.
        """
        self.rows += rows
        if broken is None or broken.is_empty():
            return
        self.broken += broken.height
        self._first = pl.concat([self._first, broken]).head(ROWS_SHOWN)
        with telling_full_disk(Path(tempfile.gettempdir())):
            broken.write_ndjson(self._spool)
        if is_hopeless(self.broken, rows=self.rows):
            self.finish()

    def finish(self) -> None:
        """Write the quarantine file, say so, and judge.

        Raises:
            InputError: the share of broken rows exceeds the budget, or no row is good; names the
                first few rows and the quarantine file.
        """
        self._publish()
        if self._is_spent() or (self.broken and self.broken == self.rows):
            raise InputError(self._message())
        if self.broken:
            LOG.warning(
                "%d of %d rows are broken and left out; the first: %s. All: %s",
                self.broken,
                self.rows,
                self._first_words(),
                self.uri,
            )

    def _is_spent(self) -> bool:
        return self.broken > self.max_error_share * self.rows

    def _first_words(self) -> str:
        file, row, reason, _ = self._first.row(0)
        return f"{file} row {row}: {reason}"

    def _publish(self) -> None:
        storage = Storage.at(self.uri)
        if not self.broken:
            storage.delete(storage.uri)
            return
        self._spool.seek(0)
        with whole_file(storage) as stream:
            shutil.copyfileobj(self._spool, stream)

    def _message(self) -> str:
        head, advice = f"{self.empty}; all {self.rows:,} are broken:", "mend them"
        if self._is_spent():
            head = (
                f"{self.broken} of {self.rows} rows are broken ({self.broken / self.rows:.1%}), "
                f"allowed are {self.max_error_share:.1%}:"
            )
            advice = "mend them, or raise max_error_share"
        rows = [
            f"  {file} row {row}: {reason}: {raw[:RAW_SHOWN]!r}"
            for file, row, reason, raw in self._first.iter_rows()
        ]
        more = [f"  and {self.broken - len(rows)} more"] if self.broken > len(rows) else []
        return "\n".join([head, *rows, *more, f"All of them are in {self.uri}; {advice}."])

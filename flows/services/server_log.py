"""What the Prefect server of `up` says, in a file of the Prefect home."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from flows.services.only_one import prefect_home

NAME = "signalbox-server.log"
# A longer one is cut to its last half.
LONGEST_BYTES = 4 * 1024 * 1024
TAIL_BYTES = 2000


@dataclass
class ServerLog:
    """A file that is written at its end, for the user alone to read.

    Attributes:
        path: where it is.
        file: what the server writes to.
    """

    path: Path
    file: BinaryIO

    @classmethod
    def begun(cls) -> Self:
        """An empty one, in place of that of the last start."""
        path = prefect_home() / NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        return cls(path=path, file=path.open("a+b", buffering=0))

    def close(self) -> None:
        self.file.close()

    def shorten(self) -> None:
        """Keep the last half of one that has become too long."""
        if os.fstat(self.file.fileno()).st_size <= LONGEST_BYTES:
            return
        kept = self._last(LONGEST_BYTES // 2)
        self.file.truncate(0)
        self.file.write(kept)

    def last_words(self) -> str:
        """How it ends, and where all of it is."""
        said = self._last(TAIL_BYTES).decode(errors="replace").strip()
        return f"{said or 'it said nothing'}\n(all it said: {self.path})"

    def _last(self, size: int) -> bytes:
        self.file.seek(max(0, self.file.seek(0, os.SEEK_END) - size))
        return self.file.read()

"""What a person at the terminal sees of a running job: bars on stderr, or a line now and then."""

import logging
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cluster.jobs.run import Part

LINE_SECONDS = 15.0


class Bars:
    """One bar a part while the block lasts; without a terminal, a log line every 15 s."""

    def __init__(self, logger: "logging.Logger | logging.LoggerAdapter[logging.Logger]") -> None:
        self.logger = logger
        self.said = time.monotonic()
        self.tasks: dict[str, TaskID] = {}
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def show(self, parts: list[Part]) -> None:
        """Move the bars to where the parts are."""
        for part in parts:
            if part.name not in self.tasks:
                self.tasks[part.name] = self.progress.add_task(part.name, note="")
            total = part.total or None
            self.progress.update(
                self.tasks[part.name], completed=part.done, total=total, note=part.note
            )
        if self.progress.disable and time.monotonic() - self.said > LINE_SECONDS:
            self.said = time.monotonic()
            states = [f"{part.name} {part.done}/{part.total} {part.note}".strip() for part in parts]
            self.logger.info("progress: %s", " · ".join(states))

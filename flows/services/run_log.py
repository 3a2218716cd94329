"""What runs of `up` log of an error that is meant for the user: its sentence, once.

Prefect logs an exception at the task, at the flow and at the end of the run's process, each time
with a traceback. The handlers here stand in for Prefect's own, of the terminal and of the run's
page; any other exception keeps all of it.
"""

import copy
import logging
import weakref
from typing import Any

from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

from cluster.errors import SignalboxError

# Says of a process that it ended with 1; what it ended by was logged before.
EXITS = "prefect.runner.flow_run_executor"
OF_FAILURE = ("status code: 1.", "for an unhandled exception")


class Sentences:
    """Log records as they are to be seen."""

    def __init__(self) -> None:
        self._last: weakref.ref[SignalboxError] | None = None

    def seen(self, record: logging.LogRecord) -> logging.LogRecord | None:
        """The record, of an error for the user its sentence; None where that was said before."""
        if record.name == EXITS and any(word in record.getMessage() for word in OF_FAILURE):
            return None
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, SignalboxError):
            return record
        if self._last is not None and self._last() is error:
            return None
        self._last = weakref.ref(error)
        # Other handlers are given the same record.
        told = copy.copy(record)
        told.msg, told.args, told.exc_info, told.exc_text = str(error), None, None, None
        return told


class Briefly(logging.Handler):
    """What the handlers below have in common; it stands before Prefect's own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._sentences = Sentences()

    def emit(self, record: logging.LogRecord) -> None:
        seen = self._sentences.seen(record)
        if seen is not None:
            super().emit(seen)


class ConsoleHandler(Briefly, PrefectConsoleHandler):
    """The terminal."""


class ApiHandler(Briefly, APILogHandler):
    """The run's page."""

"""A job's log, line by line while it is written."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

LOG = logging.getLogger("signalbox")


class LogTail:
    """A thread that reads Ray's log stream while the block lasts.

    Ray sends the last lines about 2 s after a job's end and closes the stream 3 s later, so
    `finish` reads the end from the log itself.
    """

    def __init__(self, client: Any, *, submission: str, log: Callable[[str], None]) -> None:
        self.client, self.submission, self.log = client, submission, log
        self.heard = 0
        self.rest = ""
        self.cancel: Callable[[], object] = lambda: None
        self.reading = threading.Event()
        self.thread = threading.Thread(target=self._read, name="log-tail", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def finish(self) -> None:
        """Hear the job's log to its end; call it when the job has ended."""
        self._end()
        self._hear(self.client.get_job_logs(self.submission)[self.heard :])
        if self.rest:
            self.log(self.rest)

    def _end(self) -> None:
        self.reading.wait()
        with contextlib.suppress(RuntimeError):  # the stream's loop has ended by itself
            self.cancel()
        self.thread.join()

    def _read(self) -> None:
        from aiohttp import ClientError

        try:
            asyncio.run(self._forward())
        except asyncio.CancelledError:
            return
        except (ClientError, OSError, RuntimeError) as error:
            LOG.warning("the log of job %s breaks off here: %s", self.submission, error)

    async def _forward(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self.cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        self.reading.set()
        async for chunk in self.client.tail_job_logs(self.submission):
            self._hear(chunk)

    def _hear(self, chunk: str) -> None:
        self.heard += len(chunk)
        *lines, self.rest = (self.rest + chunk).split("\n")
        for line in lines:
            self.log(line)

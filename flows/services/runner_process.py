"""The process beside `up` that starts the runs, brought back where it ends by itself."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from cluster.errors import SignalboxError
from cluster.process import end_child
from flows.services.served import READY, Serving

# Each run that is on is told to end and has its job stopped, one after another.
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.1
RESTARTS, WITHIN_SECONDS = 3, 300.0
# By name: this process itself needs nothing of what they import.
HANDLERS = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS": "flows.services.run_log.ConsoleHandler",
    "PREFECT_LOGGING_HANDLERS_API_CLASS": "flows.services.run_log.ApiHandler",
}


@dataclass
class RunnerProcess:
    """Python with Prefect and the flows imported, which takes its time, waits to be told more.

    Attributes:
        variables: with which it reaches the Prefect server; a password may be among them.
    """

    variables: dict[str, str] = field(repr=False)
    serving: Serving | None = None
    process: "subprocess.Popen[str] | None" = None
    deaths: list[float] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let it cancel the runs that are on, and end."""
        assert self.process is not None
        end_child(self.process, seconds=STOP_SECONDS)

    def _start(self) -> None:
        own = {
            # What the user's folder has of `flows` or `tasks` must not stand before ours.
            "PYTHONSAFEPATH": "1",
            # Waits of 2, 4, 8, ... 64 s, in which a server that died is up again.
            "PREFECT_CLIENT_MAX_RETRIES": os.environ.get("PREFECT_CLIENT_MAX_RETRIES", "6"),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.services.served"],
            env=_log_variables() | os.environ | self.variables | own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the command, which then lets the runs end in good order.
            start_new_session=True,
        )

    def serve(self, serving: Serving, stop: threading.Event) -> None:
        """Tell it what to serve and wait until the server knows the deployments, or until `stop`.

        Raises:
            SignalboxError: it ended instead.
        """
        self.serving = serving
        self._tell()
        ready = threading.Event()
        threading.Thread(target=self._listen, args=(ready,), daemon=True).start()
        while not (ready.wait(LOOK_SECONDS) or stop.is_set()):
            assert self.process is not None
            if self.process.poll() is not None:
                raise SignalboxError(
                    "the process that serves the deployments ended before it began; what it said "
                    "is above"
                )

    def _tell(self) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.serving is not None
        self.process.stdin.write(self.serving.model_dump_json() + "\n")
        self.process.stdin.flush()

    def _listen(self, ready: threading.Event) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() == READY:
            ready.set()

    def restart_if_ended(self) -> bool:
        """Start it again if it has ended, without the runs it had on. True if it had.

        Raises:
            SignalboxError: it ends again and again.
        """
        assert self.process is not None
        if self.process.poll() is None:
            return False
        # Its runs are in its process group; nobody could cancel them any more.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        now = time.monotonic()
        self.deaths = [then for then in self.deaths if now - then < WITHIN_SECONDS] + [now]
        if len(self.deaths) > RESTARTS:
            raise SignalboxError(
                "the process that serves the deployments ends again and again; what it said is "
                "above"
            )
        self._start()
        self._tell()
        return True


def _log_variables() -> dict[str, str]:
    """By which Prefect takes our handlers for its own, unless all is to be seen."""
    return {} if os.environ.get("PREFECT_LOGGING_LEVEL") == "DEBUG" else HANDLERS

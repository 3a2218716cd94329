"""The Prefect server of `up`: one of its own, or the one that was named."""

import errno
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from cluster.errors import InputError, SignalboxError
from cluster.process import end_child
from flows.services.server_log import ServerLog

START_SECONDS = 180.0
STOP_SECONDS = 15.0
LOOK_SECONDS = 0.2
# A server that dies that often within so short a time will not stay up the next time either.
RESTARTS, WITHIN_SECONDS = 3, 300.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def given_server() -> str:
    """API address of the server that the environment or Prefect's profile names; or empty."""
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value() or "").rstrip("/")


def own_key() -> str:
    """`user:password` that a server of our own will ask for; or empty."""
    from prefect.settings import PREFECT_SERVER_API_AUTH_STRING

    return str(PREFECT_SERVER_API_AUTH_STRING.value() or "")


def check_server(*, host: str, port: int) -> None:
    """Make sure the server that was named answers, or else that one can be started.

    Raises:
        InputError: nobody answers there, or the port is taken.
    """
    given = given_server()
    if given and not answers(given):
        raise InputError(
            f"PREFECT_API_URL={given}: no Prefect server answers there; start it, or unset the "
            "variable (and 'prefect config unset PREFECT_API_URL') to have one started here"
        )
    if not given:
        _check_free(host, port=port)


def _check_free(host: str, *, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        # Of what Python adds, the address is said here as well.
        why = (error.strerror or str(error)).partition(" (while attempting")[0]
        mend = "name an address of this machine"
        if error.errno == errno.EADDRINUSE:
            mend = (
                "another 'signalbox up' or Prefect server may be there: name another --port (0: a "
                "free one), or set PREFECT_API_URL to use that server"
            )
        raise InputError(
            f"--host {host} --port {port}: cannot be listened at ({why}); {mend}"
        ) from error


def answers(api_url: str) -> bool:
    """Whether a Prefect server answers at an address."""
    try:
        # Health asks for no key, so that a server with one says as well that it is there.
        with urllib.request.urlopen(f"{api_url}/health", timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False


@dataclass
class PrefectServer:
    """A server that answers at `api_url`; `process` is None for one that was named.

    Attributes:
        api_url: where the API answers.
        ui_url: where the UI is.
        command: starts it.
        log: what a server of our own says.
    """

    api_url: str
    ui_url: str
    command: list[str] = field(default_factory=list)
    process: "subprocess.Popen[bytes] | None" = None
    log: ServerLog | None = None
    deaths: list[float] = field(default_factory=list)

    @classmethod
    def at(cls, *, host: str, port: int) -> "PrefectServer":
        """The server that was named, else one of our own, which starts with the block."""
        given = given_server()
        if given:
            return cls(api_url=given, ui_url=_ui_url(given))
        port = port or _free_port(host)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{port}"
        command = ["prefect", "server", "start", "--host", host, "--port", str(port)]
        return cls(api_url=f"{url}/api", ui_url=url, command=[sys.executable, "-m", *command])

    @property
    def is_own(self) -> bool:
        return bool(self.command)

    def for_clients(self) -> dict[str, str]:
        """Variables with which a process reaches it."""
        from prefect.settings import PREFECT_API_AUTH_STRING

        address = {"PREFECT_API_URL": self.api_url}
        if not (self.is_own and own_key()) or PREFECT_API_AUTH_STRING.value():
            return address
        return address | {"PREFECT_API_AUTH_STRING": own_key()}

    def __enter__(self) -> Self:
        if self.is_own:
            self.log = ServerLog.begun()
            self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process is not None:
            end_child(self.process, seconds=STOP_SECONDS)
        if self.log is not None:
            self.log.close()

    def _start(self) -> None:
        """Start it in a session of its own: Ctrl-C is for the command, which then stops it."""
        # From elsewhere the browser reaches the API where it reached the page.
        is_local = self.ui_url.split("//")[1].rsplit(":", 1)[0].strip("[]") in LOOPBACK
        own = {"PREFECT_UI_API_URL": self.api_url if is_local else "/api"}
        self.process = subprocess.Popen(
            self.command,
            env=os.environ | own,
            stdin=subprocess.DEVNULL,
            stdout=self.log.file if self.log is not None else None,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self, stop: threading.Event) -> None:
        """Wait until it answers, or until `stop`.

        Raises:
            SignalboxError: it ended, or took too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.api_url):
            if self.process is not None and self.process.poll() is not None:
                raise SignalboxError(f"the Prefect server did not start: {self._last_words()}")
            if time.monotonic() > deadline:
                raise SignalboxError(
                    f"the Prefect server did not answer within {START_SECONDS:.0f} s: "
                    f"{self._last_words()}"
                )
            if stop.wait(LOOK_SECONDS):
                return

    def restart_if_ended(self) -> bool:
        """Start it again if it has ended; its database has all it knew. True if it had.

        To be called again and again: what it says is kept short as well.

        Raises:
            SignalboxError: it ends again and again.
        """
        if self.log is not None:
            self.log.shorten()
        if self.process is None or self.process.poll() is None:
            return False
        now = time.monotonic()
        self.deaths = [then for then in self.deaths if now - then < WITHIN_SECONDS] + [now]
        if len(self.deaths) > RESTARTS:
            raise SignalboxError(f"the Prefect server ends again and again: {self._last_words()}")
        self._start()
        return True

    def _last_words(self) -> str:
        return "it said nothing" if self.log is None else self.log.last_words()


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as free:
        return int(free.getsockname()[1])


def _ui_url(api_url: str) -> str:
    from prefect.settings import PREFECT_UI_URL

    return str(PREFECT_UI_URL.value() or api_url.removesuffix("/api"))

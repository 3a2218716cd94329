"""One `up` a Prefect home: two would take each other's runs from the one database."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import InputError

LOCK = "signalbox-up.lock"


def check_only_one() -> None:
    """Make sure no other `up` has this Prefect home.

    Raises:
        InputError: one has.
    """
    with only_one():
        pass


@contextmanager
def only_one() -> Iterator[None]:
    """Have the Prefect home of this user for the length of a block; a process that dies frees it.

    Raises:
        InputError: another `up` has it.
    """
    path = prefect_home() / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise InputError(
                f"'signalbox up' is running already (process {lock.read().strip() or 'unknown'}) "
                f"with the Prefect home {path.parent}: use that one, stop it, or set PREFECT_HOME "
                "to another folder for a second"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def prefect_home() -> Path:
    """Where Prefect keeps what is this user's, its database among it."""
    from prefect.settings import PREFECT_HOME

    return Path(PREFECT_HOME.value())

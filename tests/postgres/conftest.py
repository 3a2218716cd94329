"""A real PostgreSQL."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.prefect_server import PATIENCE_SECONDS, free_port, wait_until

DEBIAN = Path("/usr/lib/postgresql")


def binaries() -> Path | None:
    """The folder with `postgres` and `initdb`: on PATH, or Debian's newest."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    return versions[-1].parent if versions else None


def unprivileged() -> list[str]:
    """What stands before a command of PostgreSQL, which refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


@contextlib.contextmanager
def database(folder: Path) -> Iterator[str]:
    """The address of an empty database, for Prefect; it ends with the block."""
    found = binaries()
    assert found is not None
    before, data, port, password = (
        unprivileged(),
        folder / "data",
        free_port(),
        secrets.token_hex(8),
    )
    (folder / "password").write_text(password)
    if before:
        shutil.chown(folder, "postgres")
        shutil.chown(folder / "password", "postgres")
    make = ["initdb", "-D", data, "-U", "prefect", "-A", "scram-sha-256", "--no-sync"]
    make += [f"--pwfile={folder / 'password'}"]
    _run([*before, found / make[0], *make[1:]])
    settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    command = [*before, found / "postgres", "-D", data, "-p", str(port), *settings]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as run,
    ):
        try:
            ready = [found / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(
                lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0
            )
            yield f"postgresql+asyncpg://prefect:{password}@127.0.0.1:{port}/postgres"
        finally:
            # Fast: sessions are ended, what was committed is kept.
            run.send_signal(signal.SIGINT)
            run.wait(timeout=PATIENCE_SECONDS)


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A living PostgreSQL of this test run."""
    if binaries() is None:
        pytest.skip("no PostgreSQL on this machine (Debian: apt-get install postgresql)")
    if os.geteuid() == 0 and not _has_user("postgres"):
        pytest.skip("PostgreSQL refuses root, and there is no user 'postgres' to run it as")
    # Not pytest's own folder, which only its user may enter.
    with (
        tempfile.TemporaryDirectory(prefix="signalbox-postgres-") as folder,
        database(Path(folder)) as url,
    ):
        yield url


def _has_user(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False

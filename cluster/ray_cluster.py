"""Finding a Ray cluster, or starting one that lives as long as the command.

Ray reads its token settings when it is imported, so they are put into the environment before,
with a token in a file only the user can read.
"""

import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import JobError

ADDRESS_VARIABLE = "SIGNALBOX_RAY_ADDRESS"
# Engines keep their data in their own memory; only requests and small frames pass through Ray.
OBJECT_STORE_BYTES = 256 * 2**20


def prepare_environment() -> None:
    """Settle Ray's token authentication; call before anything imports Ray.

    What the user has set already stays as it is.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    # Ray shortens PATH-less interpreters and wide logs; these two keep job logs plain.
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    if os.environ["RAY_AUTH_MODE"] != "token":
        return
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    if not (Path.home() / ".ray" / "auth_token").exists():
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(_new_token_file())


def _new_token_file() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="signalbox-ray-"))
    path = folder / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


@contextmanager
def cluster_address(address: str = "") -> Iterator[str]:
    """The dashboard address of a Ray cluster, for the length of a block.

    Args:
        address: `http://head:8265` of a running cluster; empty: that of `SIGNALBOX_RAY_ADDRESS`,
            and without one a cluster is started here and ends with the block.
    """
    address = address or os.environ.get(ADDRESS_VARIABLE, "")
    if address:
        yield address
        return
    prepare_environment()
    import ray

    try:
        context = ray.init(
            address="local",
            include_dashboard=True,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (RuntimeError, OSError, ConnectionError) as error:
        raise JobError(f"Ray could not be started on this machine: {error}") from error
    try:
        yield f"http://{context.dashboard_url}"
    finally:
        ray.shutdown()


def connect() -> None:
    """Join the cluster a job runs on; started by hand, a job starts its own."""
    prepare_environment()
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=True, logging_level=logging.WARNING)

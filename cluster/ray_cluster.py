"""Finding a Ray cluster, or starting one that lives as long as the command.

Ray reads its token settings when it is imported, so they are put into the environment before,
with a token in a file only the user can read.
"""

import atexit
import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.address import refuse_user
from cluster.errors import JobError

ADDRESS_VARIABLE = "SIGNALBOX_RAY_ADDRESS"
# Engines keep their data in their own memory; only requests and small frames pass through Ray.
OBJECT_STORE_BYTES = 256 * 2**20
# Ray's word for a cluster of one machine: on Linux it takes the outer address for the word
# "localhost" unless this is off, and then finds no cluster on loopback.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# On a machine with other work Ray's own 30 s for a start are sometimes too few.
START_TURNS = 3
LOG = logging.getLogger("signalbox.ray")


def prepare_environment() -> None:
    """Settle Ray's token authentication; call before anything imports Ray.

    What the user has set already stays as it is.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    # Job logs are read by people and by us: no colour codes in them.
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    if os.environ["RAY_AUTH_MODE"] != "token":
        return
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    if not (Path.home() / ".ray" / "auth_token").exists():
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(_new_token_file())


def _new_token_file() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="signalbox-ray-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


def given_address(address: str = "") -> str:
    """The address, else that of `SIGNALBOX_RAY_ADDRESS`; empty when neither is set.

    Raises:
        InputError: it holds a user or a password.
    """
    given = address or os.environ.get(ADDRESS_VARIABLE, "")
    refuse_user(
        given,
        what="the Ray address",
        instead="set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's token",
    )
    return given


@contextmanager
def cluster_address(address: str = "") -> Iterator[str]:
    """The dashboard address of a Ray cluster, for the length of a block.

    Args:
        address: `http://head:8265` of a running cluster; empty: that of `SIGNALBOX_RAY_ADDRESS`,
            and without one a cluster is started here and ends with the block.
    """
    given = given_address(address)
    if given:
        yield given
        return
    cluster = _start()
    try:
        yield f"http://{cluster.webui_url}"
    finally:
        cluster.shutdown()


def _start() -> Any:
    """A cluster of this machine whose processes end with this one, by a reaper if need be.

    All of them listen on loopback alone: nobody else on the network reaches one of their ports.

    Two commands at once on one machine have a cluster each. So not `ray.init`, which gives the
    job agent the fixed port 52365 (the second cluster then takes no jobs: "No available agent"),
    and a folder of its own, in whose `ray_current_cluster` Ray looks up where a job belongs (else
    jobs of one cluster knock at the other's door).
    """
    for turn in range(START_TURNS):
        try:
            return _start_once()
        # Ray raises a bare Exception when its 30 s for a start were not enough.
        except Exception as error:
            if turn == START_TURNS - 1:
                message = f"Ray could not be started on this machine: {error}"
                raise JobError(message) from error
            LOG.warning("Ray did not start (%s); trying again", error)
    raise AssertionError("unreachable")


def _start_once() -> Any:
    prepare_environment()
    from ray.cluster_utils import Cluster

    folder = Path(tempfile.mkdtemp(prefix="signalbox-ray-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    head = {
        "temp_dir": str(folder),
        "node_ip_address": "127.0.0.1",
        # Not cpu_count: under taskset, Slurm or a pinned container fewer of them are ours.
        "num_cpus": len(os.sched_getaffinity(0)),
        "num_gpus": _gpus(),
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": True,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": None,  # the next free one from 8265 on
        "dashboard_agent_listen_port": 0,
    }
    logging.getLogger("ray").setLevel(logging.WARNING)
    # Cluster also notes the address in Ray's default folder, /tmp/ray, which is not there before
    # Ray's first start on a machine, and may be another user's.
    (folder / "ray").mkdir()
    cluster = None
    try:
        with (
            _environment(RAY_TMPDIR=str(folder), **LOOPBACK),
            _deaf_children(),
            _own_signals(),
        ):
            cluster = Cluster(initialize_head=True, head_node_args=head)
    except KeyboardInterrupt:
        if cluster is not None:
            cluster.shutdown()
        raise
    (folder / "ray_current_cluster").write_text(cluster.address)
    return cluster


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes this thread starts in the block leave Ctrl-C to the command.

    A terminal sends SIGINT to all processes of the command. A dashboard that died of it cannot stop
    the job, and the command would wait for its answer for ever. Ray blocks SIGINT in what it
    starts, but the dashboard's first use of multiprocessing lets it through again. What is ignored
    stays so.
    """
    starter = [threading.get_ident()]

    def ignore() -> None:
        if threading.get_ident() in starter:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    # It cannot be taken back, and does nothing after the block.
    os.register_at_fork(after_in_child=ignore)
    try:
        yield
    finally:
        starter.clear()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the command's own answers to signals; to a Ctrl-C in the block, it comes at the end.

    Half started, Ray would leave a process that nobody knows of. And Ray answers SIGTERM by
    draining its node for 30 s.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    told = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: told.set())
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        if told.is_set():
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Environment variables for the length of a block, and for the processes started in it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _gpus() -> int:
    """NVIDIA GPUs this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def connect() -> None:
    """Join the cluster a job runs on; started by hand, a job starts its own."""
    prepare_environment()
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=True, logging_level=logging.WARNING)

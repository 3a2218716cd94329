"""up: Prefect server, Ray and the deployments in one command, until it is stopped."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pydantic import Field

from cluster.candidate import check_candidates
from cluster.lake.lake import Lake
from cluster.process_mark import VARIABLE, start_guard
from cluster.ray_cluster import cluster_address
from flows.params import FlowParams, check_ray
from flows.services.given import Given
from flows.services.nightly import check_nightly, nightly_values
from flows.services.only_one import check_only_one, only_one
from flows.services.prefect_server import (
    LOOPBACK,
    PrefectServer,
    check_server,
    given_server,
    own_key,
)
from flows.services.runner_process import RunnerProcess
from flows.services.served import Serving
from flows.stop_signal import stop_signal
from tasks.report import say

LOOK_SECONDS = 0.5


class UpParams(FlowParams):
    """Bring up the Prefect server, Ray and the deployments, and print the UI's address."""

    host: str = Field(
        default="127.0.0.1",
        title="Host",
        description="Address the UI is served at; 0.0.0.0 lets other machines in: set "
        "PREFECT_SERVER_API_AUTH_STRING=user:password then",
    )
    port: int = Field(
        default=4200, ge=0, le=65535, title="Port", description="Port of the UI; 0: a free one"
    )
    candidates: str = Field(
        default="",
        title="Candidates",
        description="Candidate file (YAML or TOML) that forms which ask for one begin with",
    )
    nightly: str = Field(
        default="",
        title="Nightly",
        description="YAML file of fields as 'retrain --config' takes, such as max-usd: with them "
        "retrain runs every night at 02:00 UTC, until its schedule is turned off in the UI. Empty: "
        "as it was at the last start, at first not by itself",
    )
    limit: int = Field(
        default=4, ge=1, title="Limit", description="Runs at a time; further ones wait"
    )


def check(params: UpParams) -> None:
    """What can be told before anything is started; the lake comes last, for it is made here.

    Raises:
        SignalboxError: lake, candidate file, nightly file, address, the Prefect server that was
            named or the Ray address are not what they must be.
    """
    if params.candidates:
        check_candidates(params.candidates)
    if params.nightly:
        check_nightly(params.nightly, lake=params.lake, candidates=params.candidates)
    if not given_server():
        check_only_one()
    check_server(host=params.host, port=params.port)
    check_ray(params)
    Lake.open(params.lake)


def up(params: UpParams) -> dict[str, Any]:
    """Serve until Ctrl-C or SIGTERM; whatever ends this process, nothing it started outlives it.

    Raises:
        SignalboxError: a part did not start, or ended and could not be brought back.
    """
    start = time.monotonic()
    lake = Lake.open(params.lake)
    server = PrefectServer.at(host=params.host, port=params.port)
    with (
        stop_signal() as stop,
        only_one() if server.is_own else nullcontext(),
        _guarded(),
        server,
        # Before Ray, so that its imports are done while Ray and the server start.
        RunnerProcess(server.for_clients()) as runner,
        cluster_address(params.ray_address) as address,
    ):
        server.wait(stop)
        serving = _serving(params, lake=lake, address=address, own_server=server.is_own)
        if not stop.is_set():
            runner.serve(serving, stop)
        if not stop.is_set():
            _tell(params, server=server, seconds=time.monotonic() - start)
        while not stop.wait(LOOK_SECONDS):
            _keep_up(server, runner)
        say("stopping; runs that are on are cancelled, what was committed is kept")
        runner.stop()
    told = {"flow": "up", "lake": lake.storage.uri, "url": server.ui_url}
    return told | {"seconds": round(time.monotonic() - start, 1)}


@contextmanager
def _guarded() -> Iterator[None]:
    """Mark all that is started in the block; in the end, and if this process is killed, it ends."""
    mark = secrets.token_hex(16)
    guard = start_guard(mark)
    os.environ[VARIABLE] = mark
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        guard.communicate()


def _serving(params: UpParams, *, lake: Lake, address: str, own_server: bool) -> Serving:
    nightly = nightly_values(params.nightly) if params.nightly else {}
    candidates = str(Path(params.candidates).resolve()) if params.candidates else ""
    return Serving(
        given=Given(lake=lake.storage.uri, candidates=candidates, nightly=nightly),
        ray_address=address,
        limit=params.limit,
        own_server=own_server,
    )


def _tell(params: UpParams, *, server: PrefectServer, seconds: float) -> None:
    say(f"up after {seconds:.0f} s: {server.ui_url}/deployments (Ctrl-C stops it)")
    if not server.is_own:
        return
    key = " PREFECT_API_AUTH_STRING=USER:PASSWORD" if own_key() else ""
    say(f"other terminals: export PREFECT_API_URL={server.api_url}{key}")
    if server.log is not None:
        say(f"what the Prefect server says: {server.log.path}")
    if params.host not in LOOPBACK and not own_key():
        say(
            "anybody who reaches this address can start runs: set PREFECT_SERVER_API_AUTH_STRING="
            "user:password before the start"
        )


def _keep_up(server: PrefectServer, runner: RunnerProcess) -> None:
    """Bring back what has ended by itself."""
    if server.restart_if_ended():
        log = f" ({server.log.path} has its words)" if server.log is not None else ""
        say(f"the Prefect server ended{log} and is started again; runs go on")
    if runner.restart_if_ended():
        say("the process that starts the runs ended, and they with it; it is started again")

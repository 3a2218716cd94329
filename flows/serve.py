"""serve: a router and its policies behind an OpenAI-compatible endpoint, until it is stopped."""

import os
import socket
import time
from typing import Any

from pydantic import Field
from rich.console import Console

from cluster import registry
from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.lake.prices import read_prices
from cluster.policies.rules import read_rules
from cluster.ray_cluster import cluster_address, given_address
from cluster.routers.checkpoint import Manifest, read_manifest
from cluster.serving.backend import lake_backends, load_backends
from cluster.serving.deploy import deployed
from cluster.serving.model_name import row_by_row
from cluster.serving.routing import fitted_policy
from cluster.serving.spec import ServeSpec
from flows.params import FlowParams, PricesField, check_ray
from flows.policy_fields import PolicyFields, check_policy, constraints_of, policy_settings
from flows.stop_signal import stop_signal

LOOK_SECONDS = 5.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServeParams(PolicyFields, FlowParams):
    """Serve a registered router as the model 'router' of an OpenAI-compatible endpoint."""

    host: str = Field(
        default="127.0.0.1",
        title="Host",
        description="Address to listen at; 0.0.0.0 lets other machines in: set --key-variable then",
    )
    port: int = Field(
        default=8000, ge=0, le=65535, title="Port", description="Port to listen at; 0: a free one"
    )
    router: str = Field(
        default="champion",
        title="Router",
        description="champion, which is followed: a promoted router takes over while requests go "
        "on. Or a registered version or the beginning of one, which stays",
    )
    backends: str = Field(
        default="",
        title="Back-ends",
        description="YAML file with a line 'name: {url: http://host:8000/v1, model: m, "
        "key_variable: KEY}' a candidate; also timeout_seconds, concurrency. Candidates of engine "
        "openai have theirs already",
    )
    prices: PricesField = ""
    key_variable: str = Field(
        default="",
        title="Key variable",
        description="Environment variable that holds the key clients must send. Empty: no key",
    )
    max_request_bytes: int = Field(
        default=8 * 2**20, ge=1, title="Longest request", description="Longer ones are refused"
    )
    reload_seconds: float = Field(
        default=5.0,
        gt=0,
        allow_inf_nan=False,
        title="Reload",
        description="How often the registry is asked for the champion, in seconds",
    )


def check(params: ServeParams) -> None:
    """What can be told before anything is started.

    Raises:
        SignalboxError: lake, router, back-ends, prices, policy, key, port or Ray address are not
            what they must be.
    """
    check_policy(params)
    _check_constraints(params)
    lake = Lake.open(params.lake, create=False)
    row = registry.resolve(lake, version=params.router)
    spec = _spec(params, lake=lake)
    manifest = read_manifest(row["checkpoint"])
    _check_candidates(manifest, spec=spec, lake=lake)
    fitted_policy(
        row_by_row(spec.policy, settings=spec.policy_settings),
        candidates=manifest.candidates,
        method=manifest.method,
        prices=spec.prices or read_prices("", lake=lake),
    )
    check_ray(params)
    if not given_address(params.ray_address):
        _check_here(params)


def serve(params: ServeParams) -> dict[str, Any]:
    """Serve until Ctrl-C or SIGTERM; returns what was served, where and how long."""
    lake = Lake.open(params.lake, create=False)
    spec = _spec(params, lake=lake)
    port = params.port or _free_port(params.host)
    url = f"http://{params.host}:{port}"
    told = {"flow": "serve", "lake": lake.storage.uri, "url": f"{url}/v1"}
    start = time.monotonic()
    is_own = not given_address(params.ray_address)
    with (
        cluster_address(params.ray_address) as address,
        deployed(spec, address=address, is_own=is_own, host=params.host, port=port) as application,
        stop_signal() as stop,
    ):
        _tell(f"serving at {url}/v1 (model 'router'; {url}/health, {url}/metrics)")
        if not (params.key_variable or params.host in _LOOPBACK):
            _tell("anybody who reaches this address can ask: set --key-variable to demand a key")
        while not stop.wait(LOOK_SECONDS):
            application.check()
        _tell("stopping; what was begun is ended")
    return told | {"seconds": round(time.monotonic() - start, 1)}


def _spec(params: ServeParams, *, lake: Lake) -> ServeSpec:
    follows = params.router == registry.CHAMPION
    row = registry.resolve(lake, version=params.router)
    candidates = read_manifest(row["checkpoint"]).candidates
    constraints = constraints_of(params, candidates=candidates, lake=lake)
    return ServeSpec(
        lake=lake.storage.uri,
        router=params.router if follows else row["version"],
        policy=params.policy,
        policy_settings=policy_settings(params),
        prices=read_prices(params.prices, lake=lake) if params.prices else {},
        backends=load_backends(params.backends) if params.backends else {},
        constraints=constraints,
        key_variable=params.key_variable or None,
        max_request_bytes=params.max_request_bytes,
        reload_seconds=params.reload_seconds,
    )


def _check_constraints(params: ServeParams) -> None:
    """A request is a text without columns, and its choice is kept nowhere."""
    if params.explore:
        raise InputError("--explore is for files: leave it out, or use 'signalbox route'")
    rules = read_rules(params.rules) if params.rules else ()
    if params.language or any(rule.reads_tag for rule in rules):
        raise InputError(
            "a request has no columns: rules here may read the language that is detected, and no "
            "tag; leave --language out"
        )


def _check_candidates(manifest: Manifest, *, spec: ServeSpec, lake: Lake) -> None:
    """A candidate that could be chosen and not be asked is told of now, not at some request."""
    known = lake_backends(lake) | spec.backends
    silent = [name for name in spec.constraints.allowed or manifest.candidates if name not in known]
    if silent:
        raise InputError(
            f"no back-end for {', '.join(silent)}: add a line 'name: {{url: …, model: …}}' to the "
            "file behind --backends, or name the others with --allowed"
        )


def _check_here(params: ServeParams) -> None:
    """On this machine the key and the port can be looked at."""
    if params.key_variable and not os.environ.get(params.key_variable, "").strip():
        raise InputError(
            f"--key-variable {params.key_variable}: the environment variable is not set; it must "
            "hold the key that clients send"
        )
    try:
        with socket.create_server((params.host, params.port)):
            pass
    except OSError as error:
        raise InputError(
            f"--host {params.host} --port {params.port}: cannot be listened at "
            f"({error.strerror}); name others, or --port 0 for a free one"
        ) from error


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as free:
        return int(free.getsockname()[1])


def _tell(words: str) -> None:
    Console(stderr=True).print(words, highlight=False, soft_wrap=True)

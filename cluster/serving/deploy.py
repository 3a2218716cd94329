"""Bringing the application up on a Ray cluster, and down again, through the cluster's dashboard."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from cluster.errors import JobError
from cluster.serving.app import APPLICATION, DEPLOYMENT
from cluster.serving.spec import ServeSpec

POLL_SECONDS = 0.3
START_SECONDS = 300.0
STOP_SECONDS = 10.0
# A dashboard right after its start, or on a busy machine, refuses now and then.
ANSWER_PATIENCE_SECONDS = 30.0
_ALL_ADDRESSES = ("", "0.0.0.0", "::")
_FAILED = ("DEPLOY_FAILED", "UNHEALTHY")
LOG = logging.getLogger("signalbox.serve")


@contextmanager
def deployed(
    spec: ServeSpec, *, address: str, is_own: bool, host: str, port: int
) -> Iterator["Deployed"]:
    """Serve for the length of a block.

    Args:
        spec: what to serve.
        address: dashboard address of the Ray cluster, `http://host:port`.
        is_own: whether the cluster ends after the block, and Serve with it.
        host: address of the head's machine to listen at.
        port: and the port there.

    Raises:
        JobError: the cluster serves something else already, or the application does not start;
            the text is its own word on why.
    """
    client = _client(address)
    _refuse_another(_details(client), address=address)
    try:
        client.deploy_applications(_config(spec, host=host, port=port))
        application = Deployed(client)
        application.wait()
        try:
            yield application
        finally:
            url = f"http://{_reached(host, address=address)}:{port}/health"
            _drain(client, config=_config(spec, host=host, port=port, is_stopping=True), url=url)
    finally:
        if not is_own:
            _end(client)


class Deployed:
    """The application on the cluster."""

    def __init__(self, client: Any) -> None:
        """Of a cluster's Serve client."""
        self._client = client

    def wait(self) -> None:
        """Wait until it answers requests.

        Raises:
            JobError: it does not start.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            details = _details(self._client)
            found = details.get("applications", {}).get(APPLICATION, {})
            status = found.get("status", "NOT_STARTED")
            proxies = [proxy.get("status") for proxy in details.get("proxies", {}).values()]
            if status == "RUNNING" and proxies and all(one == "HEALTHY" for one in proxies):
                return
            if status in _FAILED:
                raise JobError(f"the router cannot be served: {_why(found)}")
            if time.monotonic() > deadline:
                raise JobError(
                    f"serving did not start within {START_SECONDS:g} s (the application is "
                    f"{status}, its proxies {proxies or 'not there'})"
                )
            time.sleep(POLL_SECONDS)

    def check(self) -> None:
        """Make sure it is still there.

        Raises:
            JobError: it was taken down, or has failed for good.
        """
        found = _details(self._client).get("applications", {}).get(APPLICATION)
        if found is None or found.get("status") == "DEPLOY_FAILED":
            why = _why(found) if found else "it was taken down"
            raise JobError(f"the router is not served any more: {why}")


def _config(spec: ServeSpec, *, host: str, port: int, is_stopping: bool = False) -> dict[str, Any]:
    """What Serve is told to be. `is_stopping` reaches the replica that is there already."""
    application = {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": "cluster.serving.app:build",
        "args": spec.model_dump(mode="json"),
        "deployments": [{"name": DEPLOYMENT, "user_config": {"stopping": is_stopping}}],
    }
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": host, "port": port},
        # One line a request would be most of the work of a small one; /metrics counts them.
        "logging_config": {"enable_access_log": False},
        "applications": [application],
    }


def _client(address: str) -> Any:
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

    class Client(ServeSubmissionClient):  # type: ignore[misc]
        """Waits for no answer for ever."""

        def _do_request(self, *arguments: Any, **more: Any) -> Any:
            return super()._do_request(*arguments, **more, timeout=ANSWER_PATIENCE_SECONDS)

    deadline = time.monotonic() + ANSWER_PATIENCE_SECONDS
    while True:
        try:
            return Client(address)
        except (ConnectionError, RuntimeError) as error:
            if time.monotonic() > deadline:
                why = str(error).partition("\n")[0]
                raise JobError(f"no Ray cluster answers at {address} ({why})") from error
        time.sleep(1.0)


def _details(client: Any) -> dict[str, Any]:
    """What Serve tells of itself; a dashboard that does not answer is asked again for a while.

    Raises:
        JobError: the cluster is gone.
    """
    from requests import RequestException

    deadline = time.monotonic() + ANSWER_PATIENCE_SECONDS
    while True:
        try:
            details: dict[str, Any] = client.get_serve_details()
        except (RequestException, RuntimeError) as error:
            if time.monotonic() > deadline:
                why = str(error).partition("\n")[0]
                raise JobError(f"the Ray cluster does not answer any more ({why})") from error
            time.sleep(1.0)
        else:
            return details


def _refuse_another(details: dict[str, Any], *, address: str) -> None:
    """A cluster has one Serve, and what is deployed there is deployed as a whole."""
    there = sorted(details.get("applications", {}))
    if there or details.get("proxies"):
        raise JobError(
            f"the Ray cluster at {address} serves already ({', '.join(there) or 'nothing'}): stop "
            "that first, name another cluster, or leave the Ray address out to use this machine"
        )


def _why(found: dict[str, Any]) -> str:
    """The last line of a traceback is the error's own word."""
    deployment = found.get("deployments", {}).get(DEPLOYMENT, {})
    told = f"{found.get('message', '')}\n{deployment.get('message', '')}"
    LOG.debug("%s", told)
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    named = [line for line in lines if line.startswith("cluster.errors.")]
    if named:
        return named[-1].partition(": ")[2]
    return lines[-1] if lines else "no reason was given"


def _drain(client: Any, *, config: dict[str, Any], url: str) -> None:
    """Have new requests refused, and those that are under way ended.

    The route stays for that: Serve's own end takes route and connections away at once, and answers
    status 404 in between.
    """
    from requests import RequestException

    deadline = time.monotonic() + STOP_SECONDS
    try:
        found = client.get_serve_details().get("applications", {}).get(APPLICATION, {})
        # One that somebody has taken down is not brought up again.
        if found.get("status") != "RUNNING":
            return
        client.deploy_applications(config)
    # The cluster is gone, and the application with it.
    except (RequestException, RuntimeError) as error:
        LOG.warning("what was served could not be stopped: %s", error)
        return
    while not _is_drained(url) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    # The last bytes are still on their way from the replica to the client.
    time.sleep(POLL_SECONDS)


def _is_drained(url: str) -> bool:
    """Whether the replica says that nothing is under way, and nothing comes any more."""
    from requests import RequestException, Session

    try:
        with Session() as session:
            # The way is as direct as the dashboard's; a proxy for the internet is none.
            session.trust_env = False
            health = session.get(url, timeout=POLL_SECONDS * 4).json()
    except (RequestException, ValueError):
        return False
    return bool(health.get("status") == "stopping" and health.get("under_way") == 0)


def _reached(host: str, *, address: str) -> str:
    """The name by which the head's machine is reached from here."""
    name = urlsplit(address).hostname if host in _ALL_ADDRESSES else host
    return f"[{name}]" if name and ":" in name else str(name)


def _end(client: Any) -> None:
    """Leave the cluster as it was: without Serve."""
    from requests import RequestException

    try:
        client.delete_applications()
    except (RequestException, RuntimeError) as error:
        LOG.warning("Serve could not be stopped: %s", error)

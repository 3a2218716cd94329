"""The endpoint of a replica, without Ray Serve around it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.testclient import TestClient

from cluster.policies.constraints import Constraints
from cluster.serving.gateway import Gateway
from cluster.serving.spec import ServeSpec

from .conftest import PRICES
from .fake_backend import fake_backend
from .test_routing import BACKENDS, POEM


@contextmanager
def endpoint(routers, **changes) -> Iterator[TestClient]:
    """Requests to it, of a replica that stays as long as the block."""
    settings = {"router": routers.first, "policy": "best", "prices": PRICES, "backends": BACKENDS}
    spec = ServeSpec(lake=routers.lake.storage.uri, **settings | changes)
    gateway = Gateway(spec.model_dump(mode="json"))
    app = gateway.__serve_build_asgi_app__()
    with TestClient(app) as client:
        yield client


def chat(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": POEM}]}


def test_whom_the_router_may_not_choose_the_client_may_not_name(routers) -> None:
    with fake_backend("poet") as poet:
        allowed = Constraints(allowed=("poet", "abacus"))
        url = {name: one.model_copy(update={"url": poet.url}) for name, one in BACKENDS.items()}
        with endpoint(routers, backends=url, constraints=allowed) as client:
            listed = {model["id"] for model in client.get("/v1/models").json()["data"]}
            refused = client.post("/v1/chat/completions", json=chat("teller"))
            named = client.post("/v1/chat/completions", json=chat("poet"))
    assert {"poet", "abacus"} <= listed
    assert not {"teller", "polymath"} & listed
    assert refused.status_code == 404
    assert "no model 'teller'" in refused.json()["error"]["message"]
    assert named.status_code == 200
    assert len(poet.asked) == 1


def test_a_fault_is_logged_by_its_place_and_not_by_its_words(routers, monkeypatch, caplog) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError(f"planted: {POEM}")

    monkeypatch.setattr("cluster.serving.gateway.read_asked", broken)
    # Serve's logger does not hand on to the root's.
    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    try:
        with endpoint(routers) as client:
            failed = client.post("/v1/chat/completions", json=chat("router"))
    finally:
        logger.removeHandler(caplog.handler)
    assert failed.status_code == 500
    assert failed.json()["error"]["message"] == "internal error"
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "LookupError" in told
    assert "gateway.py:" in told, "where it was called from"
    assert "test_gateway.py:" in told, "where it was raised"
    assert "planted" not in told


def test_once_it_is_to_stop_it_refuses_what_comes_and_says_so(routers) -> None:
    spec = ServeSpec(
        lake=routers.lake.storage.uri, router=routers.first, policy="best", backends=BACKENDS
    )
    gateway = Gateway(spec.model_dump(mode="json"))
    with TestClient(gateway.__serve_build_asgi_app__()) as client:
        assert client.get("/health").json()["status"] == "ok"
        gateway.reconfigure({"stopping": True})
        refused = client.post("/v1/chat/completions", json=chat("poet"))
        health, metrics = client.get("/health"), client.get("/metrics")
        gateway.reconfigure({"stopping": False})
        assert client.get("/v1/models").status_code == 200
    assert refused.status_code == health.status_code == 503
    assert "about to stop" in refused.json()["error"]["message"]
    assert (health.json()["status"], health.json()["under_way"]) == ("stopping", 0)
    assert 'signalbox_errors_total{kind="stopping"} 1.0' in metrics.text

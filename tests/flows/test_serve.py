"""serve: what is told before anything is started."""

import socket

import pytest

from cluster.errors import InputError, SignalboxError
from flows.serve import ServeParams, check


@pytest.fixture
def params(toy, tmp_path, monkeypatch):
    """Flags that would do, with changes."""
    monkeypatch.setenv("CLIENT_KEY", "a-key")
    monkeypatch.delenv("SIGNALBOX_RAY_ADDRESS", raising=False)
    names = ("small", "medium", "large")
    (tmp_path / "backends.yaml").write_text(
        "".join(f"{name}: {{url: 'http://127.0.0.1:1/v1'}}\n" for name in names)
    )
    (tmp_path / "one.yaml").write_text("small: {url: 'http://127.0.0.1:1/v1'}\n")
    (tmp_path / "tags.yaml").write_text("- {tag: sum, only: small}\n")

    def make(**changes) -> ServeParams:
        given = {"lake": str(toy.lake), "backends": str(tmp_path / "backends.yaml"), "port": 0}
        return ServeParams(**given | changes)

    return make


def test_flags_that_will_do_are_let_through(params, tmp_path) -> None:
    check(params())
    check(params(backends=str(tmp_path / "one.yaml"), allowed=["small"], key_variable="CLIENT_KEY"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backends": ""}, "no back-end for"),
        ({"backends": "one.yaml"}, "no back-end for"),
        ({"allowed": ["nobody"]}, "nobody"),
        ({"policy": "budget", "usd_per_1000": 1.0}, "whole file"),
        ({"policy": "utility", "lambda_usd": 5.0}, "--prices"),
        ({"lambda_usd": 5.0}, "--lambda-usd"),
        ({"router": "0000"}, "no router version"),
        ({"key_variable": "NO_SUCH_KEY"}, "NO_SUCH_KEY"),
        ({"explore": 0.1}, "--explore"),
        ({"rules": "tags.yaml"}, "no columns"),
        ({"host": "192.0.2.77"}, "cannot be listened at"),
    ],
)
def test_flags_that_will_not_do_are_told_at_once(params, tmp_path, changes, words) -> None:
    files = {
        name: str(tmp_path / value)
        for name, value in changes.items()
        if str(value).endswith(".yaml")
    }
    with pytest.raises(SignalboxError, match=words):
        check(params(**changes | files))


def test_a_port_that_is_taken_is_told_at_once(params) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}"):
            check(params(port=port))

"""Where a model is called that somebody else serves, and how hard it may be asked."""

import os
import re
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cluster.errors import EngineError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# As the keys of the common providers begin, or letters and digits without a break: names of models
# and variables have breaks, and the parts of a UUID are shorter.
_KEY = re.compile(
    r"(sk|pk|rk|hf|gsk|xai|r8|ghp|nvapi)[-_][-\w]{8,}"
    r"|.*(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{24,}"
)


class Address(BaseModel):
    """An OpenAI-compatible endpoint.

    Attributes:
        url: its base, such as http://localhost:8000/v1.
        key_variable: name of the environment variable, on the machine of the worker, that holds
            the key; none for an endpoint without keys. Never the key itself.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )

    url: str
    key_variable: str | None = None

    @field_validator("url")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError as error:
            raise ValueError("expected an address such as http://localhost:8000/v1") from error
        if parts.username is not None or parts.password is not None:
            raise ValueError("no user or password in an address; name a variable in 'key_variable'")
        if parts.query or parts.fragment:
            raise ValueError("nothing may follow a '?' or '#': keys belong into 'key_variable'")
        if any(_looks_like_key(part) for part in parts.path.split("/")):
            raise ValueError("a part of it looks like a key; name a variable in 'key_variable'")
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("expected an address such as http://localhost:8000/v1")
        return url.rstrip("/")

    @field_validator("key_variable")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name is not None and (not _VARIABLE.fullmatch(name) or _looks_like_key(name)):
            raise ValueError(
                "expected the name of an environment variable, such as GATEWAY_KEY, and never the "
                "key itself; if this was a key, it should be replaced now"
            )
        return name


class Endpoint(Address):
    """An endpoint that a candidate is called at; only `url` counts in the candidate's identity.

    Attributes:
        concurrency: requests under way at a time.
        requests_per_minute: requests sent in a minute at most, retries among them.
        timeout_seconds: for one request, from sending it to the end of its reply.
        retries: how often a request is sent again after 408, 409, 429, 5xx, a time-out or a lost
            connection; `Retry-After` is honoured up to 120 s, else the wait doubles from 0.5 s to
            8 s.
    """

    concurrency: int = Field(default=16, ge=1, le=1024)
    requests_per_minute: float | None = Field(default=None, gt=0)
    timeout_seconds: float = Field(default=300.0, gt=0)
    retries: int = Field(default=6, ge=0, le=20)


def read_key(address: Address) -> str:
    """The key of an endpoint, from the environment; empty for an endpoint without keys.

    Raises:
        EngineError: the variable is not set, or holds what cannot be a key.
    """
    name = address.key_variable
    if name is None:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise EngineError(
            f"the environment variable {name} is not set where the workers run; it must hold the "
            f"key of {address.url} (field 'endpoint.key_variable')"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise EngineError(
            f"the environment variable {name} holds what cannot be a key: blanks, line breaks or "
            "letters that are not ASCII; correct it"
        )
    return key


def _looks_like_key(value: str) -> bool:
    return _KEY.match(value) is not None

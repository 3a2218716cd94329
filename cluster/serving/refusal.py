"""Refusals in the form that clients of OpenAI's API read."""

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """A request that is not answered, with its HTTP status and the reason in words.

    Attributes:
        status: the HTTP status.
        kind: what it is counted as, and the error's `type` in the reply.
        param: the field of the request that is to blame, if one is.
        headers: sent with it.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The reply's JSON."""
        return {
            "error": {
                "message": str(self),
                "type": self.kind,
                "param": self.param,
                "code": None,
            }
        }

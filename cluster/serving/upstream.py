"""The connections to one back-end."""

import time

import aiohttp

from cluster.endpoint import read_key
from cluster.serving.backend import Backend
from cluster.serving.refusal import Refusal

CONNECT_SECONDS = 5.0
# So long a back-end that was down is asked last, and not waited for by every request.
DOWN_SECONDS = 5.0
# What a gateway or a server says that has nothing behind it.
DOWN_STATUSES = (502, 503, 504)
_SHORTEST_KEY = 8


class DownError(Exception):
    """A back-end cannot be reached; holds why, in words."""


class Upstream:
    """One back-end: its key, its time-outs, and whether it was down a moment ago."""

    def __init__(self, name: str, backend: Backend) -> None:
        """Read its key; connections are made when they are needed.

        Raises:
            EngineError: the key's variable is not set.
        """
        self.name = name
        self.backend = backend
        self._key = read_key(backend)
        self._down_until = 0.0
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=backend.concurrency),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=backend.timeout_seconds
            ),
            # A reply is passed on as it came, and so are its bytes.
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding",),
        )

    @property
    def is_down(self) -> bool:
        """Whether it was down within the last seconds."""
        return time.monotonic() < self._down_until

    async def post(self, path: str, content: bytes) -> aiohttp.ClientResponse:
        """Pass a request on; returns when the reply's headers are there.

        Raises:
            DownError: it cannot be reached, or the connection was lost before it answered.
            Refusal: it did not answer in time.
        """
        try:
            response = await self._session.post(self.backend.url + path, data=content)
        except aiohttp.ConnectionTimeoutError as error:
            raise self._down(f"no connection within {CONNECT_SECONDS:g} s") from error
        except TimeoutError as error:
            raise self.late() from error
        except aiohttp.ClientError as error:
            raise self._down(type(error).__name__) from error
        if response.status in DOWN_STATUSES:
            self._down(f"status {response.status}")
        else:
            self._down_until = 0.0
        return response

    def late(self) -> Refusal:
        """The refusal for an answer that took too long."""
        return Refusal(
            f"the back-end of '{self.name}' did not answer within "
            f"{self.backend.timeout_seconds:g} s",
            status=504,
            kind="timeout",
        )

    def scrubbed(self, content: bytes) -> bytes:
        """An error's words without the key, which some servers repeat."""
        key = self._key.encode()
        return content.replace(key, b"***") if len(key) >= _SHORTEST_KEY else content

    async def close(self) -> None:
        """Close its connections."""
        await self._session.close()

    def _down(self, why: str) -> DownError:
        self._down_until = time.monotonic() + DOWN_SECONDS
        return DownError(f"the back-end of '{self.name}' is down ({why})")

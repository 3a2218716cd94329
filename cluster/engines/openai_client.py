"""The client of an endpoint: its key, its pace, its deadline for each request."""

import asyncio
import email.utils
import time
from typing import Any

import httpx2
import openai

from cluster.endpoint import Endpoint, read_key

_CONNECT_SECONDS = 10.0
# A longer one is not waited for by the library either: such a request fails at once, and so do the
# others, until it shows that all do.
_LONGEST_PAUSE = 120.0
_SECONDS_A_MINUTE = 60.0
# A shorter "key" is a placeholder, such as the EMPTY that servers without keys are given, and may
# stand in any text.
_SHORTEST_KEY = 8
_HIDDEN = "***"


class Pace:
    """When the next request may be sent: evenly spread, and not while the endpoint asks to wait."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval = _SECONDS_A_MINUTE / per_minute if per_minute else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for it."""
        now = time.monotonic()
        turn = max(now, self._next)
        self._next = turn + self._interval
        await asyncio.sleep(turn - now)

    def note(self, response: httpx2.Response) -> None:
        """One request that has to wait is a pause for all: the others would be refused as well."""
        pause = retry_after(response.headers.get("retry-after", ""))
        if response.status_code in (429, 503) and pause <= _LONGEST_PAUSE:
            self._next = max(self._next, time.monotonic() + pause)


def retry_after(header: str) -> float:
    """Seconds that a `Retry-After` asks for, in seconds or as a date; 0 if it says nothing."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass  # it is a date, or nothing
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


class _PacedClient(openai.DefaultAsyncHttpxClient):
    """Sends at the endpoint's pace, retries among them, and gives up on a reply that trickles.

    A time-out of the HTTP library begins anew with every piece of a reply.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(
            timeout=httpx2.Timeout(endpoint.timeout_seconds, connect=_CONNECT_SECONDS),
            limits=httpx2.Limits(
                max_connections=endpoint.concurrency, max_keepalive_connections=endpoint.concurrency
            ),
        )
        self._pace = Pace(endpoint.requests_per_minute)
        self._seconds = endpoint.timeout_seconds

    async def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        await self._pace.turn()
        try:
            async with asyncio.timeout(self._seconds):
                response = await super().send(request, **kwargs)
        except TimeoutError as error:
            raise httpx2.ReadTimeout("the reply took too long", request=request) from error
        self._pace.note(response)
        return response


class Client:
    """One endpoint, ready to be asked; knows the key and keeps it out of every text."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Read the key.

        Raises:
            EngineError: the variable is not set, or holds what cannot be a key.
        """
        self.endpoint = endpoint
        self._key = read_key(endpoint)
        # Nothing that the environment holds for another endpoint is sent to this one.
        omitted = ["OpenAI-Organization", "OpenAI-Project"]
        omitted += [] if self._key else ["Authorization"]
        self._options = {"headers": dict.fromkeys(omitted, openai.Omit())}
        self._openai: Any = openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=endpoint.url,
            max_retries=endpoint.retries,
            http_client=_PacedClient(endpoint),
        )

    async def post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        """Ask, again where that may help; raises the library's errors."""
        response: httpx2.Response = await self._openai.post(
            path, body=body, cast_to=httpx2.Response, options=self._options
        )
        return response

    async def get(self, path: str) -> httpx2.Response:
        """The same for what costs nothing; a lost connection is tried once more."""
        once = self._openai.with_options(max_retries=min(1, self.endpoint.retries))
        response: httpx2.Response = await once.get(
            path, cast_to=httpx2.Response, options=self._options
        )
        return response

    async def close(self) -> None:
        """Close its connections."""
        await self._openai.close()

    def scrubbed(self, text: str) -> str:
        """`text` without the key."""
        return text.replace(self._key, _HIDDEN) if self.tells(text) else text

    def tells(self, text: str | None) -> bool:
        """Whether the key stands in a text."""
        return bool(text) and len(self._key) >= _SHORTEST_KEY and self._key in str(text)

"""Passing a request on to the candidate's back-end, and its answer back."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from urllib.parse import quote

import aiohttp
from starlette.responses import Response, StreamingResponse

from cluster.serving.asked import Asked
from cluster.serving.backend import Backend
from cluster.serving.metrics import SHOWN, Metrics
from cluster.serving.refusal import Refusal
from cluster.serving.upstream import DOWN_STATUSES, DownError, Upstream
from cluster.serving.wish import Wish

_PASSED_BACK = ("Content-Type", "Content-Encoding", "Retry-After", "X-Request-Id")
_STREAM = "text/event-stream"
_ERROR = 400
_SAFE = " !#$&'()*+,/:;=?@[]-._~\""


@dataclass(frozen=True)
class _Reply:
    """A back-end's reply, of which the headers are there.

    Attributes:
        skipped: candidates that were to be asked before, and were down.
    """

    candidate: str
    upstream: Upstream
    response: aiohttp.ClientResponse
    skipped: tuple[str, ...] = ()


class Passing:
    """The back-ends of a replica, and how a request gets to one of them and back."""

    def __init__(self, metrics: Metrics) -> None:
        """Without connections: they are made when they are needed."""
        self._metrics = metrics
        self._upstreams: dict[tuple[str, Backend], Upstream] = {}

    async def answer(self, asked: Asked, *, wish: Wish, start: float) -> Response:
        """The answer of the candidate that `wish` names, as it comes.

        Args:
            asked: the request.
            wish: who is to answer it.
            start: `time.perf_counter()` when it came.

        Raises:
            Refusal: no back-end can be reached, or it does not answer in time.
        """
        reply = await self._reply(asked, wish=wish)
        for name in reply.skipped:
            self._metrics.fallbacks.labels(name).inc()
        self._metrics.requests.labels(
            reply.candidate, wish.policy_name, wish.routing.version[:SHOWN], reply.response.status
        ).inc()
        headers = _headers(reply, wish=wish)
        if reply.response.headers.get("Content-Type", "").startswith(_STREAM):
            pieces = self._pieces(reply, start=start)
            return StreamingResponse(pieces, status_code=reply.response.status, headers=headers)
        content = await self._content(reply)
        self._metrics.answering.labels(reply.candidate).observe(time.perf_counter() - start)
        return Response(content, status_code=reply.response.status, headers=headers)

    def down(self) -> list[str]:
        """Candidates whose back-ends were down a moment ago."""
        return sorted(one.name for one in self._upstreams.values() if one.is_down)

    async def close(self) -> None:
        """Close all connections."""
        for upstream in self._upstreams.values():
            await upstream.close()

    async def _reply(self, asked: Asked, *, wish: Wish) -> _Reply:
        """The first reply on the way from the wish's choice to its next best ones.

        Raises:
            Refusal: none of them can be reached, or the one that is asked does not answer in time.
        """
        first = wish.first()
        try:
            return await self._first_reply(asked, wish=wish, first=first) or await self._asked_of(
                first, asked=asked, wish=wish
            )
        except DownError as error:
            raise Refusal(str(error), status=503, kind="back_end_down") from error

    async def _first_reply(self, asked: Asked, *, wish: Wish, first: str) -> _Reply | None:
        """None if all are known to have been down a moment ago.

        Raises:
            DownError: why the last that was tried cannot be reached.
        """
        skipped: list[str] = []
        trouble: DownError | None = None
        candidate: str | None = first
        while candidate is not None:
            reply = None
            if not self._upstream(candidate, wish=wish).is_down:
                try:
                    reply = await self._asked_of(candidate, asked=asked, wish=wish)
                except DownError as error:
                    trouble = error
            if reply is not None and reply.response.status not in DOWN_STATUSES:
                return replace(reply, skipped=tuple(skipped))
            instead = wish.instead_of([*skipped, candidate])
            if reply is not None and instead is None:
                return replace(reply, skipped=tuple(skipped))
            if reply is not None:
                reply.response.close()
            skipped.append(candidate)
            candidate = instead
        if trouble is not None:
            raise trouble
        return None

    async def _asked_of(self, candidate: str, *, asked: Asked, wish: Wish) -> _Reply:
        """A candidate's reply, whatever it is."""
        upstream = self._upstream(candidate, wish=wish)
        response = await upstream.post(asked.path, asked.sent(upstream.backend.model))
        return _Reply(candidate, upstream, response)

    def _upstream(self, candidate: str, *, wish: Wish) -> Upstream:
        key = candidate, wish.routing.backends[candidate]
        if key not in self._upstreams:
            self._upstreams[key] = Upstream(*key)
        return self._upstreams[key]

    async def _content(self, reply: _Reply) -> bytes:
        """The whole answer; an error's words are counted, and passed on without our key.

        Raises:
            Refusal: it did not come in time, or not to its end.
        """
        try:
            async with asyncio.timeout(reply.upstream.backend.timeout_seconds):
                content = await reply.response.read()
        except TimeoutError as error:
            raise reply.upstream.late() from error
        except aiohttp.ClientError as error:
            raise _lost(reply.candidate) from error
        finally:
            reply.response.close()
        if reply.response.status < _ERROR:
            return content
        self._metrics.errors.labels("back_end").inc()
        return reply.upstream.scrubbed(content)

    async def _pieces(self, reply: _Reply, *, start: float) -> AsyncIterator[bytes]:
        """The answer piece by piece; one that breaks off ends with an error that clients read."""
        try:
            async for piece in reply.response.content.iter_any():
                yield piece
        except (TimeoutError, aiohttp.ClientError) as error:
            is_late = isinstance(error, TimeoutError)
            refusal = reply.upstream.late() if is_late else _lost(reply.candidate)
            self._metrics.errors.labels(refusal.kind).inc()
            yield f"data: {json.dumps(refusal.body)}\n\n".encode()
        finally:
            # One that the client has left is ended here, so that the back-end stops writing it.
            reply.response.close()
            self._metrics.answering.labels(reply.candidate).observe(time.perf_counter() - start)


def _lost(candidate: str) -> Refusal:
    return Refusal(
        f"the back-end of '{candidate}' broke off amid its answer", status=502, kind="back_end_lost"
    )


def _headers(reply: _Reply, *, wish: Wish) -> dict[str, str]:
    told: dict[str, str | None] = {name: reply.response.headers.get(name) for name in _PASSED_BACK}
    cost = wish.cost_usd(reply.candidate)
    told |= {
        "X-Signalbox-Candidate": reply.candidate,
        "X-Signalbox-Policy": wish.policy_name,
        "X-Signalbox-Router": wish.routing.version,
        "X-Signalbox-Predicted-Cost-Usd": None if cost is None else f"{cost:.6g}",
        "X-Signalbox-Instead-Of": ",".join(reply.skipped) or None,
    }
    # A header holds no letters beyond ASCII; a candidate's name may.
    return {name: quote(value, safe=_SAFE) for name, value in told.items() if value is not None}

"""One replica: an OpenAI-compatible endpoint whose model `router` chooses among candidates."""

import asyncio
import hmac
import logging
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cluster.endpoint import Address, read_key
from cluster.errors import InputError, SignalboxError
from cluster.serving import model_list
from cluster.serving.asked import CHAT, COMPLETIONS, Asked, read_asked
from cluster.serving.batching import Batching
from cluster.serving.door import Door
from cluster.serving.follower import Follower
from cluster.serving.metrics import Metrics
from cluster.serving.model_name import asks_router, policy_of, row_by_row
from cluster.serving.passing import Passing
from cluster.serving.refusal import Refusal
from cluster.serving.spec import ServeSpec
from cluster.serving.wish import Named, Routed, Wish

# What Serve writes to the files of the replica.
LOG = logging.getLogger("ray.serve")
# The last calls before a fault, from the endpoint's on in most cases.
_PLACES = 8


class Gateway:
    """What Ray Serve runs, and the routes of its endpoint."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Load the router.

        Raises:
            SignalboxError: the router, its back-ends, the policy or a key are not what they must
                be.
        """
        self._spec = ServeSpec.model_validate(spec)
        self._policy = row_by_row(self._spec.policy, settings=self._spec.policy_settings)
        address = Address(url="http://clients", key_variable=self._spec.key_variable)
        self._client_key = read_key(address)
        self._metrics = Metrics()
        self._door = Door(self._metrics)
        self._follower = Follower(self._spec, metrics=self._metrics)
        self._passing = Passing(self._metrics)
        self._batching = Batching(self._metrics, size=self._spec.max_batch)

    def __serve_build_asgi_app__(self) -> Starlette:
        """The endpoint, as Ray Serve asks for it once the replica is made."""
        routes = [
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            Route("/v1/models", self.models),
            Route(f"/v1{CHAT}", self.complete, methods=["POST"]),
            Route(f"/v1{COMPLETIONS}", self.complete, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {
            Refusal: self._refused,
            InputError: self._wrong,
            SignalboxError: self._unfit,
            HTTPException: self._unknown,
            Exception: self._failed,
        }
        return Starlette(
            routes=routes,
            lifespan=self._life,
            exception_handlers=handlers,
            middleware=[Middleware(self._door.before)],
        )

    def reconfigure(self, told: dict[str, Any]) -> None:
        """Close or open the door, as Ray Serve passes it on: `{"stopping": true}`."""
        self._door.is_closed = bool(told.get("stopping"))

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        """Which router is in service, and which back-ends were down a moment ago.

        With status 503 once the replica is to stop, so that nobody is sent here any more.
        """
        routing = self._follower.routing
        return JSONResponse(
            {
                "status": "stopping" if self._door.is_closed else "ok",
                "under_way": self._door.under_way,
                "router": routing.version,
                "method": routing.checkpoint.router.method,
                "policy": self._policy.name,
                "down": self._passing.down(),
            },
            status_code=503 if self._door.is_closed else 200,
        )

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        """For Prometheus."""
        return Response(self._metrics.text(), media_type=Metrics.media_type)

    async def models(self, request: Request) -> Response:
        """The names a request's `model` may have."""
        self._admit(request)
        return JSONResponse(model_list.model_list(self._follower.routing, policy=self._policy))

    async def complete(self, request: Request) -> Response:
        """A completion, of a chat or a prompt, by the candidate that the model's name asks for."""
        try:
            return await self._completed(request)
        except (Refusal, SignalboxError, HTTPException):
            raise
        # Starlette would hand it on to Serve, which writes down its words, and they may hold a
        # query's text.
        except Exception as error:  # noqa: BLE001
            return await self._failed(request, error)

    async def _completed(self, request: Request) -> Response:
        start = time.perf_counter()
        self._admit(request)
        content = await self._content(request)
        asked = read_asked(content, path=request.url.path.removeprefix("/v1"))
        wish = await self._wish(asked)
        self._metrics.deciding.observe(time.perf_counter() - start)
        return await self._passing.answer(asked, wish=wish, start=start)

    async def _wish(self, asked: Asked) -> Wish:
        """Who is to answer.

        Raises:
            Refusal: no model has that name, or there is nothing to route by.
            InputError: the policy does not fit the router, or no candidate will do.
        """
        routing = self._follower.routing
        if asks_router(asked.model):
            policy = routing.fitted(policy_of(asked.model, default=self._policy))
            query = asked.query()
            return Routed(
                routing, policy, await self._batching.score(query, routing=routing), query
            )
        if asked.model in routing.backends:
            return Named(routing, asked.model)
        raise Refusal(
            f"no model '{asked.model}'; /v1/models lists those there are",
            status=404,
            param="model",
        )

    def _admit(self, request: Request) -> None:
        """Raises a refusal unless the client sent the key, where one is needed."""
        if not self._client_key:
            return
        sent = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(sent.encode(), self._client_key.encode()):
            raise Refusal(
                "this endpoint needs its key: 'Authorization: Bearer …'",
                status=401,
                kind="authentication_error",
            )

    async def _content(self, request: Request) -> bytes:
        """The request's body.

        Raises:
            Refusal: it is too long.
        """
        limit = self._spec.max_request_bytes
        parts, size = [], 0
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise Refusal(
                    f"the request is longer than {limit:,} bytes", status=413, kind="too_long"
                )
        return b"".join(parts)

    @asynccontextmanager
    async def _life(self, app: Starlette) -> AsyncIterator[None]:  # noqa: ARG002
        """Follow the registry from start to end."""
        following = asyncio.create_task(self._follower.follow())
        yield
        following.cancel()
        await self._passing.close()

    async def _refused(self, request: Request, error: Refusal) -> Response:  # noqa: ARG002
        self._metrics.errors.labels(error.kind).inc()
        return JSONResponse(error.body, status_code=error.status)

    async def _wrong(self, request: Request, error: InputError) -> Response:
        return await self._refused(request, Refusal(str(error)))

    async def _unfit(self, request: Request, error: SignalboxError) -> Response:
        return await self._refused(request, Refusal(str(error), status=500, kind="configuration"))

    async def _unknown(self, request: Request, error: HTTPException) -> Response:
        words = f"{request.method} {request.url.path}: {error.detail}"
        return await self._refused(request, Refusal(words, status=error.status_code))

    async def _failed(self, request: Request, error: Exception) -> Response:
        """A fault of ours; the client is told no more than that."""
        LOG.error("a request failed: %s at %s", type(error).__name__, _places(error))
        return await self._refused(request, Refusal("internal error", status=500, kind="internal"))


def _places(error: Exception) -> str:
    """Files and lines of the calls that led to an error, the last first."""
    frames = reversed(traceback.extract_tb(error.__traceback__)[-_PLACES:])
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)

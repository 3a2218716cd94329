"""Whether requests may still come, and how many are under way."""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cluster.serving.metrics import Metrics
from cluster.serving.refusal import Refusal

# Those who look after the replica are told to its end.
_ALWAYS_OPEN = ("/health", "/metrics")


class Door:
    """The way into the endpoint: closed once the replica is to stop, and what came in ends its way.

    Attributes:
        is_closed: whether requests that come from now on are refused.
        under_way: requests that came in, and whose answers are not yet sent to their end.
    """

    def __init__(self, metrics: Metrics) -> None:
        """Open."""
        self._metrics = metrics
        self.is_closed = False
        self.under_way = 0

    def before(self, app: ASGIApp) -> ASGIApp:
        """The application behind the door."""

        async def enter(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in _ALWAYS_OPEN:
                await app(scope, receive, send)
            elif self.is_closed:
                await self._refused()(scope, receive, send)
            else:
                self.under_way += 1
                try:
                    await app(scope, receive, send)
                finally:
                    self.under_way -= 1

        return enter

    def _refused(self) -> JSONResponse:
        words = "this endpoint is about to stop: ask again when it is back, or ask another"
        refusal = Refusal(words, status=503, kind="stopping")
        self._metrics.errors.labels(refusal.kind).inc()
        return JSONResponse(refusal.body, status_code=refusal.status)

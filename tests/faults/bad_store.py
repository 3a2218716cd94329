"""An S3 store that has bad days: a proxy in front of a good one.

A share of requests is answered 500 or 503. Half of those never reach the store; the other half do,
and only the answer is lost, as with a front end that gives up on its own back end. As large a
share of answers comes in small pieces, slowly.
"""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TROUBLES = ((500, "InternalError"), (503, "SlowDown"), (503, "ServiceUnavailable"))
PIECES, PAUSE_SECONDS = 8, 0.1
# What a proxy settles by itself.
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"}


@dataclass
class BadStore:
    """How the store behaves now.

    Attributes:
        behind: host and port of the good store.
        share: of requests that go wrong, and of answers that are slow.
        told: how often each kind of trouble was made, and `all` requests.
    """

    behind: str
    url: str = ""
    share: float = 0.0
    chance: random.Random = field(default_factory=random.Random)
    told: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def having_a_bad_day(self, *, share: float, seed: int) -> Iterator[None]:
        """Go wrong this often for the length of a block."""
        self.share, self.chance, self.told = share, random.Random(seed), Counter()
        try:
            yield
        finally:
            self.share = 0.0

    def fate(self) -> tuple[str, tuple[int, str]]:
        """What becomes of the next request, and how it is answered where it goes wrong."""
        with self.lock:
            drawn, trouble = self.chance.random(), self.chance.choice(TROUBLES)
            kinds = ("refused", "lost", "slow")
            limits = (self.share / 2, self.share, self.share * 2)
            kind = next((k for k, limit in zip(kinds, limits, strict=True) if drawn < limit), "")
            self.told.update(["all", kind or "well"])
        return kind, trouble


class Handler(BaseHTTPRequestHandler):
    """Passes a request on, or does not."""

    protocol_version = "HTTP/1.1"
    store: BadStore

    def handle_any(self) -> None:
        body = self._body()
        kind, (status, code) = self.store.fate()
        if kind != "refused":
            answer, content = self._passed_on(body)
        if kind in ("refused", "lost"):
            self._complain(status, code)
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        # To HEAD the length is told of what is not sent.
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self._send(content, slowly=kind == "slow")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def log_message(self, *words: object) -> None:
        """Nothing is said."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def _passed_on(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        behind = http.client.HTTPConnection(self.store.behind, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
        headers["Content-Length"] = str(len(body))
        behind.request(self.command, self.path, body=body, headers=headers)
        answer = behind.getresponse()
        content = answer.read()
        behind.close()
        return answer, content

    def _complain(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>a bad day</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self._send(text, slowly=False)

    def _send(self, content: bytes, *, slowly: bool) -> None:
        if self.command == "HEAD":
            return
        size = -(-len(content) // PIECES) if slowly else len(content)
        for start in range(0, len(content), max(1, size)):
            self.wfile.write(content[start : start + size])
            self.wfile.flush()
            if slowly:
                time.sleep(PAUSE_SECONDS)


@contextmanager
def bad_store(endpoint: str) -> Iterator[BadStore]:
    """A proxy for the length of a block, as good as what is behind it until told otherwise."""
    store = BadStore(behind=urlsplit(endpoint).netloc)
    handler = type("OwnHandler", (Handler,), {"store": store})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

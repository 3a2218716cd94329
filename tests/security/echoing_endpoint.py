"""An endpoint that answers who has the key; asked for the model `parrot` it repeats the key."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def echoing_endpoint(key: str) -> Iterator[str]:
    """Its base address for the length of a block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            sent = self.headers.get("Authorization", "")
            if sent != f"Bearer {key}":
                self._answer(401, {"error": {"message": "no such key"}})
            elif asked["model"] == "parrot":
                self._answer(401, {"error": {"message": f"the key {sent} may not do this"}})
            else:
                self._answer(200, _completion(asked))

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def _completion(asked: dict[str, Any]) -> dict[str, Any]:
    """`able` adds what it is asked to add; `poor` says 0."""
    first, _, second = asked["messages"][-1]["content"].partition(" plus ")
    text = str(int(first) + int(second)) if asked["model"] == "able" else "0"
    return {
        "id": "one",
        "object": "chat.completion",
        "created": 0,
        "model": asked["model"],
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
    }

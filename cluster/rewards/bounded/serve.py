"""A worker's own process: one line of JSON in, one out.

Runs as `python -m cluster.rewards.bounded.serve MODULE FUNCTION MEGABYTES ARGUMENT…`.
"""

import importlib
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

MEGABYTE = 2**20


def main(module: str, function: str, megabytes: str, *warm: str) -> None:
    """Warm up on the arguments, say that it is ready, then answer until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # A library that prints would break the protocol.
    work = getattr(importlib.import_module(module), function)
    work(*warm)
    # On top of what the imports took, so that the limit means the same for each function.
    limit = _address_space() + int(megabytes) * MEGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    _say({"ready": True}, to=answers)
    for line in sys.stdin.buffer:
        _say(_answer(work, line=line), to=answers)


def _answer(work: Callable[..., Any], *, line: bytes) -> dict[str, Any]:
    try:
        return {"value": work(*json.loads(line))}
    except MemoryError:
        return {"fault": "memory limit"}
    except RecursionError:
        return {"fault": "nested too deeply"}


def _say(answer: dict[str, Any], *, to: BinaryIO) -> None:
    to.write(json.dumps(answer).encode() + b"\n")
    to.flush()


def _address_space() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()


if __name__ == "__main__":
    main(*sys.argv[1:])

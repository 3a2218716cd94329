"""Role of a program that reads its input and prints its output."""

import json
import os
import sys
import types
from typing import Any, NoReturn

SOURCE = 3


def work() -> NoReturn:
    """Run the source on descriptor 3 as a main program, and end as Python would."""
    source = read_all(SOURCE)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        setattr(sys, name, open(number, mode, encoding="utf-8", errors="surrogateescape"))
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = ["answer.py"]
    # The whole of it stays in scope of the interpreter's own end: atexit, threads, flushing.
    exec(compile(source, "answer.py", "exec"), module.__dict__)
    raise SystemExit(0)


def read_all(number: int) -> bytes:
    """Content of an open file from its beginning; closed behind it."""
    with os.fdopen(number, "rb") as file:
        file.seek(0)
        return file.read()


def read_json(number: int) -> dict[str, Any]:
    """An object of JSON in an open file."""
    task: dict[str, Any] = json.loads(read_all(number))
    return task

"""Role of the tests: they run here, and the answer elsewhere."""

import ast
import builtins
import importlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from cluster.rewards.sandbox.guest import wire
from cluster.rewards.sandbox.guest.client import Client
from cluster.rewards.sandbox.guest.parts import Part, parts
from cluster.rewards.sandbox.guest.program import read_json

SOURCE, REPLIES, REQUESTS, VERDICT = 3, 4, 5, 6
LONGEST = 200


def work() -> NoReturn:
    """Run all tests and write the verdict: `passed`, `total` and `failure`, or `broken`."""
    task = read_json(SOURCE)
    sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", errors="surrogateescape")
    client = Client(requests=REQUESTS, replies=REPLIES)
    verdict = json.dumps(_verdict(task, client=client)).encode()
    while verdict:
        verdict = verdict[os.write(VERDICT, verdict) :]
    os._exit(0)


def _verdict(task: dict[str, Any], *, client: Client) -> dict[str, Any]:
    try:
        found = parts(task)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        return {"broken": _words(error)}
    passed, reason = 0, None
    space: dict[str, Any] = {"__name__": "tests"}
    try:
        _lend(space, names=client.names(), found=found, task=task, client=client)
        for part in found:
            for counts, failure in _outcomes(part, space=space):
                passed += counts and failure is None
                reason = reason or failure
    except wire.Gone as gone:
        reason = reason or f"the answer: {gone}"
    total = sum(len(part.tests) for part in found)
    return {"passed": passed, "total": total, "failure": reason}


def _lend(
    space: dict[str, Any],
    *,
    names: list[str],
    found: list[Part],
    task: dict[str, Any],
    client: Client,
) -> None:
    """Give the tests the names they use and the answer has.

    Built-in names stay what they are, and so do modules: an answer cannot lend its own `abs` or
    `math`. The entry point is the answer's, whatever it is called.
    """
    nodes = [node for part in found for statement in part.body for node in ast.walk(statement)]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    bases = [node.value for node in nodes if isinstance(node, ast.Attribute)]
    owners = {base.id for base in bases if isinstance(base, ast.Name)}
    entry = task.get("entry_point")
    for name in sorted(used & set(names)):
        if name in owners & sys.stdlib_module_names:
            space[name] = importlib.import_module(name)
        elif name == entry or not hasattr(builtins, name):
            space[name] = client.ask("global", name)
    if entry in names:
        space["candidate"] = client.ask("global", entry)


def _outcomes(part: Part, *, space: dict[str, Any]) -> Iterator[tuple[bool, str | None]]:
    """Whether it counts, and its failure, of each test of a part; or of a preparation."""
    code = compile(ast.Module(part.body, type_ignores=[]), "tests", "exec")
    prepared = _failure(lambda: exec(code, space), name=part.text)
    if part.tests in ((), ("",)):
        yield bool(part.tests), prepared
        return
    for test in part.tests:
        yield True, prepared or _failure(lambda: _run(test, space=space), name=test)  # noqa: B023


def _run(test: str, *, space: dict[str, Any]) -> None:
    """A test function, or a method of a `unittest.TestCase`."""
    owner, _, method = test.rpartition(".")
    if not owner:
        space[method]()
        return
    import unittest

    result = unittest.TestResult()
    unittest.TestSuite([space[owner](method)]).run(result)
    for _, trace in (*result.errors, *result.failures):
        raise AssertionError(trace.strip().splitlines()[-1])
    if not result.testsRun:
        raise AssertionError("it did not run")


def _failure(run: Any, *, name: str) -> str | None:
    try:
        run()
    except wire.Gone:
        raise
    except BaseException as error:
        return f"{name}: {_words(error)}"
    return None


def _words(error: BaseException) -> str:
    try:
        words = " ".join(str(error).split())[:LONGEST]
    except Exception as unsaid:
        words = type(unsaid).__name__
    return f"{type(error).__name__}: {words}" if words else type(error).__name__

"""The tests of a reference, one by one."""

import ast
from typing import Any, NamedTuple

from cluster.rewards.sandbox.guest.answer import helpers

LONGEST = 120


class Part(NamedTuple):
    """A piece of test code.

    Attributes:
        text: how it is called in a reason.
        body: its statements; empty for a test that earlier parts have defined.
        tests: what counts as tests: itself (""), or functions and methods it defines
            ("test_one", "Case.test_two"). None of them: a preparation.
    """

    text: str
    body: list[ast.stmt]
    tests: tuple[str, ...]


def parts(task: dict[str, Any]) -> list[Part]:
    """Parts of a reference, in the order they run.

    Raises:
        SyntaxError: it is no Python.
        ValueError: it holds no test.
    """
    if "tests" in task:
        setup = _statements(_joined(task.get("setup")))
        found = [*setup, *(_whole(test) for test in task["tests"])]
    elif task.get("entry_point"):
        before = helpers(task.get("prompt") or "", entry_point=task["entry_point"])
        prompt = Part("the prompt", before, ())
        found = [prompt, *_called(_statements(task["test"]))]
    else:
        found = _statements(task["test"])
    if not any(part.tests for part in found):
        raise ValueError("it holds no test")
    return found


def _joined(setup: Any) -> str:
    return "\n".join(setup) if isinstance(setup, list) else setup or ""


def _whole(test: str) -> Part:
    return Part(_short(test), ast.parse(test).body, ("",))


def _statements(source: str) -> list[Part]:
    """Each statement: an assertion is a test, and so is what is named like one."""
    return [
        Part(_short(ast.unparse(node)), [node], _tests(node)) for node in ast.parse(source).body
    ]


def _called(found: list[Part]) -> list[Part]:
    """HumanEval's form: `check(candidate)` is the test, and whoever runs it calls it."""
    names = [getattr(part.body[0], "name", None) for part in found]
    if "check" not in names:
        return found
    plain = [part._replace(tests=()) for part in found if not _calls_check(part.body[0])]
    return [*plain, Part("check(candidate)", ast.parse("check(candidate)").body, ("",))]


def _calls_check(node: ast.stmt) -> bool:
    call = node.value if isinstance(node, ast.Expr) else None
    return (
        isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check"
    )


def _tests(node: ast.stmt) -> tuple[str, ...]:
    match node:
        case ast.Assert():
            return ("",)
        case ast.FunctionDef(name=name) if name.startswith("test"):
            return (name,)
        case ast.ClassDef(name=name, body=body, bases=[base]) if "TestCase" in ast.unparse(base):
            methods = [n.name for n in body if isinstance(n, ast.FunctionDef)]
            return tuple(f"{name}.{method}" for method in methods if method.startswith("test"))
        case ast.For() | ast.With() | ast.Try() | ast.If():
            return ("",) if any(isinstance(n, ast.Assert) for n in ast.walk(node)) else ()
    return ()


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"

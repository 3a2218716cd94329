"""Role of an answer whose functions are called by tests in another process.

Nothing here is trusted: the answer shares this interpreter and may change all of it. It can only
say what its functions return, which is all that any answer says.
"""

import ast
import builtins
import operator
import os
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

from cluster.rewards.sandbox.guest import wire
from cluster.rewards.sandbox.guest.program import read_json

SOURCE, REQUESTS, REPLIES = 3, 4, 5


def work() -> NoReturn:
    """Load the answer, then do what is asked until nobody asks."""
    task = read_json(SOURCE)
    sys.stdin = open(0, encoding="utf-8")
    sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", errors="surrogateescape")
    server = Server()
    server.load(task)
    while True:
        server.serve(wire.receive(REQUESTS))


class Server:
    """Functions and objects of an answer, by number."""

    def __init__(self) -> None:
        self.module = types.ModuleType("answer")
        self.objects: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.actions: dict[str, Callable[..., Any]] = {**ACTIONS, "global": self._global}

    def load(self, task: dict[str, Any]) -> None:
        """Run the answer's source and say which names it has."""
        sys.modules["answer"] = self.module
        try:
            exec(_compiled(task), self.module.__dict__)
        except BaseException as error:
            wire.send({"raised": self._error(error)}, to=REPLIES)
            os._exit(0)
        wire.send({"names": [n for n in vars(self.module) if isinstance(n, str)]}, to=REPLIES)

    def serve(self, request: dict[str, Any]) -> None:
        """Do one thing and reply with its value, or with what it raised."""
        try:
            arguments = [self._decode(item) for item in request["args"]]
            named = {key: self._decode(item) for key, item in request["kwargs"].items()}
            value = self.actions[request["do"]](*arguments, **named)
            # Tests see what a call has done to their lists and dicts.
            reply = {"value": self._encode(value), "args": [self._encode(a) for a in arguments]}
            wire.send(reply, to=REPLIES)
        except wire.Gone:
            os._exit(0)
        except BaseException as error:
            wire.send({"raised": self._error(error)}, to=REPLIES)

    def _global(self, name: str) -> Any:
        return vars(self.module)[name]

    def _error(self, error: BaseException) -> dict[str, Any]:
        """The names of its classes, the nearest first, and its words."""
        try:
            words = str(error)[:300]
        except Exception:
            words = ""
        return {"classes": [kind.__name__ for kind in type(error).__mro__], "words": words}

    def _encode(self, value: Any) -> Any:
        return wire.encode(value, name=self._name)

    def _name(self, value: object) -> list[Any]:
        number = self.numbers.setdefault(id(value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)
        bases: list[str] = []
        if isinstance(value, type) and issubclass(value, BaseException):
            bases = [kind.__name__ for kind in value.__mro__]
        return ["object", number, type(value).__name__, bases]

    def _decode(self, data: Any) -> Any:
        return wire.decode(data, find=self._find)

    def _find(self, data: list[Any]) -> Any:
        kind, *parts = data
        if kind == "object":
            return self.objects[parts[0]]
        if kind == "known":
            return getattr(__import__(parts[0]), parts[1])
        return self._callback(parts[0])

    def _callback(self, number: int) -> Callable[..., Any]:
        """A function of the tests: calling it asks them, while they wait for us."""

        def call(*arguments: Any, **named: Any) -> Any:
            message = {
                "callback": number,
                "args": [self._encode(item) for item in arguments],
                "kwargs": {key: self._encode(item) for key, item in named.items()},
            }
            wire.send(message, to=REPLIES)
            while "value" not in (reply := wire.receive(REQUESTS)):
                if "raised" in reply:
                    raise getattr(builtins, reply["raised"], RuntimeError)(reply["words"])
                self.serve(reply)
            return self._decode(reply["value"])

        return call


def _compiled(task: dict[str, Any]) -> Any:
    """The answer's code: alone, or where it only goes on with a prompt, behind it.

    An answer that defines the entry point is whole; the prompt's other definitions come first.
    """
    answer, prompt, entry = task["answer"], task.get("prompt") or "", task.get("entry_point")
    if not prompt:
        return compile(answer, "answer.py", "exec")
    try:
        tree = ast.parse(answer)
        whole = any(getattr(node, "name", None) == entry for node in tree.body)
    except SyntaxError:
        whole = False
    if not whole:
        return compile(f"{prompt}{answer}", "answer.py", "exec")
    before = helpers(prompt, entry_point=entry)
    return compile(ast.Module([*before, *tree.body], type_ignores=[]), "answer.py", "exec")


def helpers(prompt: str, *, entry_point: str | None) -> list[ast.stmt]:
    """What a prompt defines beside its entry point; its body may be missing."""
    for form in (prompt, f"{prompt}\n    pass\n"):
        try:
            tree = ast.parse(form)
        except SyntaxError:
            continue
        return [node for node in tree.body if getattr(node, "name", None) != entry_point]
    return []


ACTIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, *arguments, **named: function(*arguments, **named),
    "get": getattr, "set": setattr, "item": operator.getitem, "put": operator.setitem,
    "remove": operator.delitem, "len": len, "iter": iter, "next": next, "str": str, "repr": repr,
    "bool": bool, "isinstance": isinstance, "eq": operator.eq, "ne": operator.ne,
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv,
    "and": operator.and_, "or": operator.or_, "xor": operator.xor, "matmul": operator.matmul,
}  # fmt: skip

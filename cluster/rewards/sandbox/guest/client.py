"""The tests' side of the talk with an answer's process."""

import builtins
import operator
import sys
from typing import Any

from cluster.rewards.sandbox.guest import wire
from cluster.rewards.sandbox.guest.stand_in import StandIn

# Exceptions that end a process end nothing here.
ENDINGS = frozenset({"SystemExit", "KeyboardInterrupt", "GeneratorExit"})


class Client:
    """Asks the answer's process; what it replies is data, and checked as such."""

    def __init__(self, *, requests: int, replies: int) -> None:
        self.requests = requests
        self.replies = replies
        self.callbacks: list[Any] = []
        self.stand_ins: dict[int, StandIn] = {}
        self.errors: dict[tuple[str, ...], type[BaseException]] = {}

    def names(self) -> list[str]:
        """Names the answer has defined; the first thing it says.

        Raises:
            Gone: it did not load, or ended.
        """
        message = wire.receive(self.replies)
        if "raised" in message:
            error = self._error(message["raised"])
            raise wire.Gone(f"it does not load: {type(error).__name__}: {error}")
        return [name for name in message.get("names", []) if isinstance(name, str)]

    def ask(self, action: str, *arguments: Any, **named: Any) -> Any:
        """Have one thing done there.

        Raises:
            Exception: what the answer raised, as the built-in class next to it.
            Gone: its process has ended.
        """
        message = {
            "do": action,
            "args": [self._encode(item) for item in arguments],
            "kwargs": {key: self._encode(item) for key, item in named.items()},
        }
        wire.send(message, to=self.requests)
        while "callback" in (reply := wire.receive(self.replies)):
            self._call_back(reply)
        if "raised" in reply:
            raise self._error(reply["raised"])
        self._update(arguments, now=reply.get("args", []))
        return self._decode(reply.get("value"))

    def _update(self, arguments: tuple[Any, ...], *, now: Any) -> None:
        """Lists, dicts and sets are here what the call has made of them there."""
        for argument, data in zip(arguments, now, strict=False):
            if not isinstance(argument, list | dict | set):
                continue
            value = self._decode(data)
            if type(value) is not type(argument) or value == argument:
                continue
            argument.clear()
            argument.extend(value) if isinstance(argument, list) else argument.update(value)

    def _call_back(self, message: dict[str, Any]) -> None:
        try:
            number = message["callback"]
            function = self.callbacks[number if type(number) is int and number >= 0 else 10**9]
            arguments = [self._decode(item) for item in message["args"]]
            named = {key: self._decode(item) for key, item in message["kwargs"].items()}
            reply = {"value": self._encode(function(*arguments, **named))}
        except Exception as error:
            reply = {"raised": type(error).__name__, "words": str(error)[:300]}
        wire.send(reply, to=self.requests)

    def _encode(self, value: Any) -> Any:
        return wire.encode(value, name=self._name)

    def _name(self, value: object) -> list[Any]:
        """Objects of the answer by number, public functions by name, all else as a callback."""
        if isinstance(value, StandIn):
            return ["object", vars(value)["_number"]]
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
        for known in (builtins, operator, sys.modules.get(str(module))):
            shown = module in sys.stdlib_module_names or known in (builtins, operator)
            if shown and known is not None and getattr(known, name, None) is value:
                return ["known", known.__name__, name]
        if not callable(value):
            raise TypeError(f"{type(value).__name__} cannot be handed to the answer")
        self.callbacks.append(value)
        return ["callback", len(self.callbacks) - 1]

    def _decode(self, data: Any) -> Any:
        return wire.decode(data, find=self._find)

    def _find(self, data: list[Any]) -> Any:
        kind, number, name, bases = data
        if kind != "object" or type(number) is not int or not isinstance(name, str):
            raise ValueError(kind)
        if bases:
            return self._class(bases)
        return self.stand_ins.setdefault(number, StandIn(self, number, name))

    def _error(self, raised: Any) -> BaseException:
        if not isinstance(raised, dict):
            raise wire.Gone("no message")
        return self._class(raised.get("classes"))(str(raised.get("words"))[:300])

    def _class(self, names: Any) -> type[BaseException]:
        """A class called like the answer's, below the nearest built-in one."""
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise wire.Gone("no message")
        key = tuple(names)
        if key not in self.errors:
            self.errors[key] = _made(key)
        return self.errors[key]


def _made(names: tuple[str, ...]) -> type[BaseException]:
    known = [getattr(builtins, name, None) for name in names]
    if ENDINGS & set(names):
        return type("Ended", (RuntimeError,), {})
    errors = [kind for kind in known if isinstance(kind, type) and issubclass(kind, Exception)]
    nearest = errors[0] if errors else Exception
    if not names or nearest.__name__ == names[0]:
        return nearest
    return type(names[0], (nearest,), {"__init__": Exception.__init__})

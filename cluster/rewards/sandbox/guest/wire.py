"""Values as JSON between the process of an answer and the process of its tests.

Plain data goes by value, so that nothing an answer has written takes part in a comparison: a
subclass of int with an `__eq__` of its own arrives as the int it is. Everything else stays where
it is and is named by a number.
"""

import collections
import decimal
import fractions
import json
import os
import struct
from collections.abc import Callable
from typing import Any

MOST_BYTES = 16 * 2**20
LENGTH = struct.Struct(">I")
SMALL = 2**53

Name = Callable[[object], list[Any]]
Find = Callable[[list[Any]], object]


class Gone(BaseException):
    """The other process has ended, or sent what is no message. No test can catch it by mistake."""


def send(message: dict[str, Any], *, to: int) -> None:
    """Write a message.

    Raises:
        ValueError: it is too long.
        Gone: nobody reads it.
    """
    data = json.dumps(message).encode()
    if len(data) > MOST_BYTES:
        raise ValueError(f"a value of more than {MOST_BYTES // 2**20} MB")
    rest = memoryview(LENGTH.pack(len(data)) + data)
    try:
        while rest:
            rest = rest[os.write(to, rest) :]
    except BrokenPipeError as error:
        raise Gone("its process ended") from error


def receive(number: int) -> dict[str, Any]:
    """Read a message.

    Raises:
        Gone: there is none, or it is no JSON object.
    """
    (length,) = LENGTH.unpack(_exactly(LENGTH.size, number=number))
    if length > MOST_BYTES:
        raise Gone(f"a value of more than {MOST_BYTES // 2**20} MB")
    try:
        message = json.loads(_exactly(length, number=number))
    except (ValueError, RecursionError) as error:
        raise Gone(f"no message: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise Gone("no message")
    return message


def _exactly(length: int, *, number: int) -> bytes:
    parts = []
    while length:
        part = os.read(number, min(length, 2**20))
        if not part:
            raise Gone("its process ended")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def encode(value: Any, *, name: Name) -> Any:
    """JSON for a value; `name` says what stands for one that is not plain data."""
    if value is None or isinstance(value, bool):
        return value
    for kind, write in PLAIN:
        if isinstance(value, kind):
            return write(value)
    for word, container in CONTAINERS.items():
        if isinstance(value, container):
            return [word, [encode(item, name=name) for item in value]]
    if isinstance(value, dict):
        word = "counter" if isinstance(value, collections.Counter) else "dict"
        pairs = dict.items(value)
        return [word, [[encode(k, name=name), encode(v, name=name)] for k, v in pairs]]
    return name(value)


def decode(data: Any, *, find: Find) -> Any:
    """The value; `find` gives what stands behind a name.

    Raises:
        Gone: it is not what `encode` writes.
    """
    if not isinstance(data, list):
        return data
    try:
        kind, *parts = data
        if kind in CONTAINERS:
            return CONTAINERS[kind](decode(item, find=find) for item in parts[0])
        if kind in MAPPINGS:
            pairs = [(decode(k, find=find), decode(v, find=find)) for k, v in parts[0]]
            return MAPPINGS[kind](pairs)
        return SCALARS[kind](*parts) if kind in SCALARS else find(data)
    except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise Gone(f"no value: {type(error).__name__}") from error


def _whole(value: int) -> Any:
    return value if -SMALL < value < SMALL else ["int", hex(value)]


def _int(digits: str) -> int:
    return int(digits, 16)  # Linear, where decimal digits are not.


PLAIN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (int, lambda value: _whole(int.__index__(value))),
    (float, lambda value: ["float", float.__repr__(value)]),
    (str, str.__str__),
    ((bytes, bytearray), lambda value: ["bytes", bytes(value).hex()]),
    (complex, lambda value: ["complex", repr(value.real), repr(value.imag)]),
    (decimal.Decimal, lambda value: ["decimal", str(value)]),
    (fractions.Fraction, lambda value: ["fraction", hex(value.numerator), hex(value.denominator)]),
    (range, lambda value: ["range", hex(value.start), hex(value.stop), hex(value.step)]),
)
CONTAINERS: dict[str, Any] = {
    "list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "deque": collections.deque,
}  # fmt: skip
MAPPINGS: dict[str, Callable[[Any], Any]] = {
    "dict": dict, "counter": lambda pairs: collections.Counter(dict(pairs)),
}  # fmt: skip
SCALARS: dict[str, Callable[..., Any]] = {
    "int": _int,
    "float": float,
    "bytes": bytes.fromhex,
    "complex": lambda real, imaginary: complex(float(real), float(imaginary)),
    "decimal": decimal.Decimal,
    "fraction": lambda top, bottom: fractions.Fraction(_int(top), _int(bottom)),
    "range": lambda *parts: range(*map(_int, parts)),
}

"""What stands in the tests' process for an object of the answer's process."""

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from cluster.rewards.sandbox.guest.client import Client


Plain = TypeVar("Plain", int, bool, str)


class StandIn:
    """An object of the answer, asked where it is.

    It answers calls, attributes, items, length, truth, iteration and its text. It is equal to no
    plain value, is in no order with one and does not calculate with one: the answer's own
    operators would see what a test expects, or say yes to anything. Two objects of the answer are
    compared by the answer, and an operator between them gives an object again, never a value.
    """

    def __init__(self, client: "Client", number: int, kind: str) -> None:
        vars(self).update(_client=client, _number=number, _kind=kind)

    def _ask(self, action: str, *arguments: Any, **named: Any) -> Any:
        return vars(self)["_client"].ask(action, self, *arguments, **named)

    def _plain(self, kind: type[Plain], action: str, *arguments: Any) -> Plain:
        """A reply that has to be of one plain kind."""
        value = self._ask(action, *arguments)
        if not isinstance(value, kind):
            raise TypeError(f"the answer gave {type(value).__name__}, expected {kind.__name__}")
        return value

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("call", *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("put", key, value)

    def __delitem__(self, key: Any) -> None:
        self._ask("remove", key)

    def __len__(self) -> int:
        return self._plain(int, "len")

    def __bool__(self) -> bool:
        return self._plain(bool, "bool")

    def __str__(self) -> str:
        return self._plain(str, "str")

    def __repr__(self) -> str:
        return self._plain(str, "repr")

    def __iter__(self) -> Any:
        # An iterator of the answer is one here too, and ends by StopIteration.
        return self._ask("iter")

    def __next__(self) -> Any:
        return self._ask("next")

    def __enter__(self) -> Any:
        return self._ask("get", "__enter__")()

    def __exit__(self, *raised: object) -> None:
        self._ask("get", "__exit__")(None, None, None)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, StandIn) and value._plain(bool, "isinstance", self)

    def __hash__(self) -> int:
        return hash(vars(self)["_number"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StandIn) and self._plain(bool, "eq", other)

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, StandIn) or self._plain(bool, "ne", other)


def _order(action: str) -> Any:
    def compare(self: StandIn, other: object) -> Any:
        if not isinstance(other, StandIn):
            return NotImplemented
        return self._plain(bool, action, other)

    return compare


def _operator(action: str) -> Any:
    def operate(self: StandIn, other: object) -> Any:
        if not isinstance(other, StandIn):
            return NotImplemented
        result = self._ask(action, other)
        return result if isinstance(result, StandIn) else _refuse(action)

    return operate


def _refuse(action: str) -> NoReturn:
    raise TypeError(f"the answer's own '{action}' gave a plain value, which proves nothing")


for _action in ("lt", "le", "gt", "ge"):
    setattr(StandIn, f"__{_action}__", _order(_action))
for _action in ("add", "sub", "mul", "truediv", "and", "or", "xor", "matmul"):
    setattr(StandIn, f"__{_action}__", _operator(_action))

"""What a fitted encoder or router is on disk: JSON values, arrays and text; no code, no pickle.

Reading a state back trusts nothing: every getter checks the kind and shape it was asked for.
"""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cluster.errors import InputError

Tensors = dict[str, npt.NDArray[Any]]
T = TypeVar("T")


@dataclass(frozen=True)
class State:
    """All there is to a fitted encoder or router.

    Attributes:
        config: JSON values: the settings and small facts.
        tensors: arrays, stored as safetensors.
        files: name → text, stored beside them (a vocabulary, a tokenizer).
    """

    config: dict[str, Any]
    tensors: Tensors = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def tensor(self, name: str, *, shape: tuple[int | None, ...]) -> npt.NDArray[Any]:
        """The array `name`; `None` in `shape` fits any length.

        Raises:
            InputError: it is missing or of another shape.
        """
        found = self.tensors.get(name)
        if found is None:
            raise InputError(f"damaged checkpoint: tensor '{name}' is missing")
        fits = found.ndim == len(shape) and all(
            want is None or have == want for have, want in zip(found.shape, shape, strict=True)
        )
        if not fits or not np.issubdtype(found.dtype, np.floating):
            raise InputError(
                f"damaged checkpoint: tensor '{name}' is {found.dtype} {found.shape}, "
                f"expected a floating type and shape {shape}"
            )
        return found

    def value(self, name: str, kind: type[T]) -> T:
        """The JSON value `name`.

        Raises:
            InputError: it is missing or of another type.
        """
        found = self.config.get(name)
        if not isinstance(found, kind):
            raise InputError(
                f"damaged checkpoint: config '{name}' is {type(found).__name__}, "
                f"expected {kind.__name__}"
            )
        return found

    def text(self, name: str) -> str:
        """The text file `name`.

        Raises:
            InputError: it is missing.
        """
        if name not in self.files:
            raise InputError(f"damaged checkpoint: file '{name}' is missing")
        return self.files[name]

    def holding(self, part: "State", *, name: str) -> "State":
        """This state with another one inside it, under `name`."""
        return State(
            {**self.config, name: part.config},
            {**self.tensors, **{f"{name}.{key}": array for key, array in part.tensors.items()}},
            {**self.files, **{f"{name}.{key}": text for key, text in part.files.items()}},
        )

    def part(self, name: str) -> "State":
        """The inverse of `holding`.

        Raises:
            InputError: there is none of that name.
        """
        prefix = f"{name}."
        return State(
            self.value(name, dict),
            {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)},
            {k.removeprefix(prefix): v for k, v in self.files.items() if k.startswith(prefix)},
        )

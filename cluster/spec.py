"""What a scorer or tagger is, as data: its name, version and settings, and the hash of them."""

import json
from abc import ABC
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.errors import InputError
from cluster.plugins import Kind, load_plugin
from cluster.query import digest
from cluster.spec_file import explained


class IdentifiedSpec(BaseModel, ABC):
    """Settings whose identity is their content; equal settings have equal ids on every machine.

    A subclass's fields are its settings.

    Attributes:
        kind: what it is ("scorer", "tagger"); set by the base of that kind.
        plugins: the group of entry points it is registered in; set by the base of that kind.
        name: readable name of the method; the entry point's.
        version: raised by hand when the same settings come to mean something else, so that old
            values are not mistaken for new ones.
        unhashed: settings that change no value, such as where it runs.
        filled: settings, its own or a candidate's inside it, that are filled by `resolved` and
            are not for users.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    plugins: ClassVar[Kind]
    name: ClassVar[str]
    version: ClassVar[int] = 1
    unhashed: ClassVar[frozenset[str]] = frozenset()
    filled: ClassVar[frozenset[str]] = frozenset({"model_digest", "tokenizer_digest"})

    def spec(self) -> dict[str, Any]:
        """Everything that changes a value: kind and name, version, settings; JSON values."""
        settings = self.model_dump(mode="json", exclude=set(self.unhashed))
        assert self.kind not in settings, f"{self.name}: a setting may not be called '{self.kind}'"
        return {self.kind: self.name, "version": self.version, **settings}

    @property
    def spec_id(self) -> str:
        """sha256 in hex of the spec's canonical JSON: the order of settings does not matter."""
        return digest([json.dumps(self.spec(), sort_keys=True, ensure_ascii=False)])

    def resolved(self, folder: Path) -> Self:  # noqa: ARG002
        """The same with local folders made absolute, seen from `folder`, and known by content.

        Raises:
            InputError: a model is not there, or not one that this can use.
        """
        return self

    @classmethod
    def from_plugin(cls, name: str, /, *, settings: dict[str, Any]) -> Self:
        """Make what is registered as `name` among the plugins of this kind, with its settings.

        Raises:
            InputError: the name is unknown or not of this kind, or a setting is unknown or out of
                range.
        """
        found = load_plugin(cls.plugins, name=name)
        if not (isinstance(found, type) and issubclass(found, cls)):
            raise InputError(
                f"{cls.kind} '{name}' is {found!r}, expected a subclass of {cls.__name__}; "
                f"mend the entry point signalbox.{cls.plugins} of the package that declares it"
            )
        try:
            return found(**settings)
        except ValidationError as error:
            faults = "; ".join(
                explained(fault, spec=found, hidden=cls.filled) for fault in error.errors()
            )
            known = ", ".join(one for one in found.model_fields if one not in cls.filled) or "none"
            # Without its cause, which would repeat all it was given, a key perhaps.
            raise InputError(f"{cls.kind} '{name}': {faults}; its settings: {known}") from None

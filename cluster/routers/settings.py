"""Settings that a user gives: from flags and from a YAML file.

They are fixed, or a space that is declared to choose in (`cluster.routers.space`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.errors import InputError
from cluster.routers.fit import load_method, settings_to_try
from cluster.routers.router import Method
from cluster.routers.search import encoders_of
from cluster.spec_file import read_spec_file

EXAMPLE = "such as 'knn: {k: 20}'"


@dataclass(frozen=True)
class GivenSettings:
    """What is fixed for the methods of a run.

    Attributes:
        encoder: of every method that has one.
        encoder_model: folder or name of a pretrained model; empty for an encoder without one.
        by_method: method → setting → value, or `{try: [values]}`; goes before everything else here.
        shared: setting → value, of every method that has such a setting.
    """

    encoder: str = "lexical"
    encoder_model: str = ""
    by_method: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)

    def of(self, name: str, *, method: type[Method]) -> dict[str, Any]:
        """The fixed settings of one method; of what is for all only what it has."""
        own = dict(self.by_method.get(name, {}))
        known = method.model_fields
        shared = {key: value for key, value in self.shared.items() if key in known}
        if "encoder" not in known or "encoder" in own:
            return shared | own
        encoder: dict[str, Any] = {"encoder": self.encoder}
        if self.encoder_model:
            encoder["encoder_settings"] = {"model": self.encoder_model}
        return shared | encoder | own


def read_settings(path: str) -> dict[str, dict[str, Any]]:
    """method → setting → value, from a YAML file; empty without a file.

    Raises:
        InputError: names the file, the line or the method.
    """
    if not path:
        return {}
    content = read_spec_file(Path(path), flag="--settings")
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected methods with their settings, {EXAMPLE}")
    for name, settings in content.items():
        if not isinstance(settings, dict):
            raise InputError(
                f"{path}: method '{name}': found {settings!r}, expected its settings, {EXAMPLE}"
            )
    return {
        str(name): {str(key): value for key, value in own.items()} for name, own in content.items()
    }


def check_settings(given: GivenSettings, *, methods: Sequence[str], file: str = "") -> None:
    """Make sure every method, named or given settings for, takes what is fixed for it.

    Loads no model and fits nothing.

    Args:
        given: what is fixed.
        methods: the ones to fit.
        file: the settings came from, for the words.

    Raises:
        InputError: a method or an encoder is not installed, or does not take a setting.
    """
    where = f"{file}: " if file else ""
    for name in dict.fromkeys([*given.by_method, *methods]):
        prefix = where if name in given.by_method else ""
        try:
            method = load_method(name)
            for settings in settings_to_try(method, fixed=given.of(name, method=method)):
                encoders_of(settings)
        except InputError as error:
            raise InputError(f"{prefix}{error}") from error

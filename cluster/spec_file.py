"""Files that users write: read, checked against a model, and explained where they are wrong."""

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cluster.errors import InputError

SpecT = TypeVar("SpecT", bound=BaseModel)


def read_spec_file(file: Path, *, flag: str = "") -> Any:
    """What a YAML or TOML file holds; `flag` is the one that names it, for the words.

    Raises:
        InputError: it cannot be read, or is not YAML or TOML; names the file and the line.
    """
    hint = f"; check {flag}" if flag else ""
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{file}: there is no such file{hint}") from error
    except IsADirectoryError as error:
        raise InputError(f"{file} is a folder; a YAML or TOML file was expected") from error
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}); check path and rights"
        ) from error
    return parse_spec(content, name=str(file))


def parse_spec(content: bytes, *, name: str) -> Any:
    """What YAML, or TOML by the file's name, says.

    Raises:
        InputError: it is neither; names the file and the line.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: byte {error.start} is not UTF-8; save it as UTF-8") from error
    return _parse_toml(text, file=name) if name.endswith(".toml") else _parse_yaml(text, file=name)


def _parse_toml(text: str, *, file: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: broken TOML: {error}") from error


def _parse_yaml(text: str, *, file: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{file}{line}: broken YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{file}: broken YAML: {error}") from error


def validated(
    spec: type[SpecT], entry: Any, *, where: str, hidden: frozenset[str] = frozenset()
) -> SpecT:
    """`entry` as a `spec`; fields in `hidden` are not for users."""
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected fields and values, got {entry!r}")
    for field in sorted(hidden & entry.keys()):
        raise InputError(f"{where}: field '{field}' is filled by signalbox; remove it")
    try:
        return spec.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        reason = explained(first, spec=spec, hidden=hidden)
        raise InputError(f"{where}: {reason}") from error


def explained(
    error: ErrorDetails, *, spec: type[BaseModel], hidden: frozenset[str] = frozenset()
) -> str:
    """What is wrong with one field of a `spec`, in words; fields in `hidden` are not for users.

    What was found is repeated only where no model on the way to it hides its input: a key may
    have been written there by mistake.
    """
    location = [str(part) for part in error["loc"]]
    field = ".".join(location)
    if error["type"] == "missing":
        return f"field '{field}' is missing"
    if error["type"] != "extra_forbidden":
        message = error["msg"].removeprefix("Value error, ")
        secret = any(
            one.model_config.get("hide_input_in_errors") for one in _models(spec, location)
        )
        found = "" if secret else f"; got {error['input']!r}"
        return f"field '{field}': {message}{found}" if field else message
    (*_, inner) = [spec, *_models(spec, location[:-1])]
    known = sorted(set(inner.model_fields) - hidden)
    near = difflib.get_close_matches(location[-1], known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown field '{field}'; {hint}known: {', '.join(known)}"


def _models(spec: type[BaseModel], location: Sequence[str]) -> list[type[BaseModel]]:
    """The models inside `spec` on the way to `location`, the innermost last."""
    found: list[type[BaseModel]] = []
    for name in location:
        field = spec.model_fields.get(name)
        if field is None:  # a place in a list, or a key of a mapping
            continue
        kind = field.annotation
        kinds = [one for one in (kind, *get_args(kind)) if isinstance(one, type)]
        models = [one for one in kinds if issubclass(one, BaseModel)]
        if not models:
            break
        spec = models[0]
        found.append(spec)
    return found

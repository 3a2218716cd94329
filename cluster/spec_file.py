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

# Files of hundreds of candidates have some ten thousand values in 100 kB.
MAX_BYTES = 2**20
MAX_VALUES = 200_000
# A long text counts as several values.
CHARACTERS_A_VALUE = 64
SHOWN_CHARACTERS = 200
MAX_KEY_PARTS = 100
# A YAML parser's time grows with the square of the brackets that are open: 20,000 took it 10 s.
MAX_BRACKETS = 5_000


def read_spec_file(file: Path, *, flag: str = "") -> Any:
    """What a YAML or TOML file holds; `flag` is the one that names it, for the words.

    Raises:
        InputError: it cannot be read, or is not YAML or TOML; names the file and the line.
    """
    hint = f"; check {flag}" if flag else ""
    try:
        _check_size(file.stat().st_size, name=str(file), hint=hint)
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
        InputError: it is neither, or too large; names the file and the line.
    """
    _check_size(len(content), name=name)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: byte {error.start} is not UTF-8; save it as UTF-8") from error
    return _parse_toml(text, file=name) if name.endswith(".toml") else _parse_yaml(text, file=name)


def _check_size(size: int, *, name: str, hint: str = "") -> None:
    """Refuse what no one has written by hand; `size` in bytes."""
    if size > MAX_BYTES:
        raise InputError(f"{name}: has {size:,} bytes, more than {MAX_BYTES:,}{hint}")


def _parse_toml(text: str, *, file: str) -> Any:
    # 20,000 parts of one key took the parser a minute and 1.6 GB.
    keys = (line.partition("=")[0] for line in text.splitlines() if "=" in line or "[" in line)
    if any(key.count(".") > MAX_KEY_PARTS for key in keys):
        raise InputError(f"{file}: broken TOML: it is nested too deeply")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise InputError(f"{file}: broken TOML: it is nested too deeply") from error
    except ValueError as error:  # its own error is one, and so is that of a number too long
        raise InputError(f"{file}: broken TOML: {error}") from error


def _parse_yaml(text: str, *, file: str) -> Any:
    import yaml

    if text.count("[") + text.count("{") > MAX_BRACKETS:
        raise InputError(f"{file}: broken YAML: more than {MAX_BRACKETS:,} opening brackets")
    try:
        _check_expanded(yaml.compose(text, Loader=yaml.SafeLoader), file=file)
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{file}{line}: broken YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:  # no such date, a number too long
        raise InputError(f"{file}: broken YAML: {error}") from error
    except RecursionError as error:
        raise InputError(f"{file}: broken YAML: it is nested too deeply") from error


def _check_expanded(root: Any, *, file: str) -> None:
    """Refuse a file that is small only because its aliases stand for more than one would write.

    Ten aliases of ten aliases, and so on: 300 bytes can stand for a billion values, which fill the
    memory when they are merged or told of.

    Raises:
        InputError: it says more than `MAX_VALUES`, or says itself.
    """
    left, waiting = MAX_VALUES, [root]
    while waiting and left > 0:
        node = waiting.pop()
        value = getattr(node, "value", None)
        left -= 1 + (len(value) // CHARACTERS_A_VALUE if isinstance(value, str) else 0)
        if isinstance(value, list):
            waiting += [part for one in value for part in (one if type(one) is tuple else (one,))]
    if left <= 0:
        raise InputError(
            f"{file}: says more than {MAX_VALUES:,} values once its aliases are written out; "
            "expected a file written by hand"
        )


def validated(
    spec: type[SpecT], entry: Any, *, where: str, hidden: frozenset[str] = frozenset()
) -> SpecT:
    """`entry` as a `spec`; fields in `hidden` are not for users."""
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected fields and values, got {_shown(entry)}")
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
        found = "" if secret else f"; got {_shown(error['input'])}"
        return f"field '{field}': {message}{found}" if field else message
    (*_, inner) = [spec, *_models(spec, location[:-1])]
    known = sorted(set(inner.model_fields) - hidden)
    near = difflib.get_close_matches(location[-1], known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown field '{field}'; {hint}known: {', '.join(known)}"


def _shown(value: Any) -> str:
    """A value as a user wrote it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …"


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

"""Whether a text is JSON that follows a schema; runs in a bounded worker."""

import json
from functools import lru_cache
from typing import Any, NoReturn

from cluster.rewards.fence import last_fence


def judge(text: str, reference: str) -> tuple[float | None, str | None]:
    """Value and reason; both bounded by whoever calls."""
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    validator, fault = _validator(reference)
    if fault is not None:
        return None, f"the reference: {fault}"
    found, fault = _json(text)
    if fault is not None:
        return 0.0, fault
    try:
        error = best_match(validator.iter_errors(found))
    except Unresolvable as unknown:
        return None, f"the reference: it refers to {unknown.ref!r}, which is not in it"
    return (1.0, None) if error is None else (0.0, _short(f"{error.json_path}: {error.message}"))


def broken_schema(schema: Any) -> str | None:
    """What is wrong with a schema; None if nothing is."""
    from jsonschema.exceptions import SchemaError

    if not isinstance(schema, dict | bool):
        return "expected a JSON Schema, an object"
    try:
        _kind(schema).check_schema(schema)
    except SchemaError as error:
        return _short(f"no JSON Schema: {error.json_path}: {error.message}")
    return None


@lru_cache(maxsize=64)
def _validator(reference: str) -> tuple[Any, str | None]:
    """What validates by a reference, or what is wrong with it."""
    # The drafts' own schemas are known, and nothing else is looked for anywhere.
    from jsonschema_specifications import REGISTRY

    schema, fault = _parsed(reference)
    fault = fault or broken_schema(schema)
    return (None, fault) if fault else (_kind(schema)(schema, registry=REGISTRY), None)


def _kind(schema: Any) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    return validator_for(schema, default=Draft202012Validator)


def _json(text: str) -> tuple[Any, str | None]:
    """The JSON of an answer, or why there is none."""
    found, fault = _parsed(text)
    fence = last_fence(text) if fault else None
    return (found, fault) if fence is None else _parsed(fence)


def _parsed(text: str) -> tuple[Any, str | None]:
    try:
        return json.loads(text, parse_constant=_refuse), None
    except ValueError as error:
        return None, _short(f"no JSON: {error}")
    except RecursionError:
        return None, "no JSON: nested too deeply"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"

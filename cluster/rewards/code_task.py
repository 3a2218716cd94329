"""The forms a reference with tests may have.

A JSON object with

- `tests`: pieces of Python, each a test, and `setup`, Python that runs before (MBPP);
- `inputs` and `outputs`: texts by pairs; the program reads one and is to print the other (APPS);
- `test`, with `prompt` and `entry_point` where the answer may go on with a prompt (HumanEval);

or a JSON list of such tests, or Python. In Python and in `test` each top-level statement with an
`assert` is a test, and so are functions named `test…` and the methods of a `unittest.TestCase`;
of HumanEval's form, `check(candidate)` is the only one.
"""

import json
from typing import Any

from cluster.errors import InputError
from cluster.rewards.sandbox.verdict import Task

FORMS = "expected 'tests', 'inputs' with 'outputs', or 'test'"


def read_task(reference: str) -> Task:
    """The tests of a reference.

    Raises:
        InputError: it is JSON, but of none of the forms.
    """
    try:
        found = json.loads(reference)
    except (ValueError, RecursionError):
        return {"test": reference}
    if isinstance(found, list):
        found = {"tests": found}
    if not isinstance(found, dict):
        return {"test": reference}
    if "tests" in found:
        return {"tests": _texts(found, "tests"), "setup": _setup(found.get("setup"))}
    if "inputs" in found:
        return _pairs(found)
    if "test" in found:
        keys = [key for key in ("test", "prompt", "entry_point") if found.get(key) is not None]
        return {key: _text(found, key) for key in keys}
    raise InputError(f"a JSON object with {sorted(found)}; {FORMS}")


def _pairs(found: dict[str, Any]) -> Task:
    inputs, outputs = _texts(found, "inputs"), _texts(found, "outputs")
    if len(inputs) != len(outputs):
        raise InputError(f"{len(inputs)} 'inputs' and {len(outputs)} 'outputs', expected as many")
    return {"inputs": inputs, "outputs": outputs}


def _texts(found: dict[str, Any], key: str) -> list[str]:
    texts = found.get(key)
    if not (isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)):
        raise InputError(f"'{key}' is {str(texts)[:60]!r}, expected a list of texts")
    return texts


def _text(found: dict[str, Any], key: str) -> str:
    text = found[key]
    if not isinstance(text, str):
        raise InputError(f"'{key}' is {str(text)[:60]!r}, expected a text")
    return text


def _setup(setup: Any) -> str:
    lines = [setup] if isinstance(setup, str) else setup or []
    if not (isinstance(lines, list) and all(isinstance(line, str) for line in lines)):
        raise InputError(f"'setup' is {str(setup)[:60]!r}, expected a text or a list of them")
    return "\n".join(lines)

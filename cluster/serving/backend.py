"""Where a routed request is passed on to: one back-end a candidate."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, Field

from cluster.endpoint import Address
from cluster.errors import InputError
from cluster.lake.candidates import newest_specs
from cluster.lake.lake import Lake
from cluster.lake.tables import CANDIDATES
from cluster.spec_file import read_spec_file, validated


class Backend(Address):
    """An OpenAI-compatible server that answers for a candidate.

    Attributes:
        model: the server's name for it.
        concurrency: connections at a time; further requests wait for one.
        timeout_seconds: for a whole answer, or, where it is streamed, for each next piece of it.
    """

    model: str = Field(min_length=1)
    concurrency: int = Field(default=256, ge=1, le=4096)
    timeout_seconds: float = Field(default=300.0, gt=0)


Backends = Mapping[str, Backend]


class _Entry(BaseModel):
    """An entry of the file."""

    backend: Backend


def load_backends(path: str | Path) -> dict[str, Backend]:
    """Back-ends by candidate's name, from a YAML or TOML file: `name: {url: …, model: …}`.

    A back-end without `model` is asked for the candidate's own name.

    Raises:
        InputError: names the file, the candidate and the field.
    """
    file = Path(path)
    entries = read_spec_file(file, flag="--backends")
    if not isinstance(entries, dict) or not entries:
        raise InputError(
            f"{file}: expected candidates' names, each with {{url: …, model: …, key_variable: …}}"
        )
    found = {}
    for key, entry in entries.items():
        name = str(key)
        if not isinstance(entry, dict):
            raise InputError(f"{file}: candidate '{name}': expected {{url: …, model: …}}")
        # Inside another, so that what stands where a key's name should is not repeated.
        named = {"backend": {"model": name} | entry}
        found[name] = validated(_Entry, named, where=f"{file}: candidate '{name}'").backend
    return found


def lake_backends(lake: Lake) -> dict[str, Backend]:
    """The endpoints of the lake's candidates of engine `openai`, by candidate's name.

    Their pace and retries are for collecting; a request that is waited for goes to another
    candidate instead.
    """
    rows = newest_specs(lake.scan(CANDIDATES)).collect()
    specs = {name: json.loads(spec) for name, spec in rows.select("name", "spec").iter_rows()}
    return {
        name: Backend(
            model=spec["model"],
            **{
                key: spec["endpoint"][key]
                for key in ("url", "key_variable", "concurrency", "timeout_seconds")
                if key in spec["endpoint"]
            },
        )
        for name, spec in specs.items()
        if spec.get("endpoint")
    }

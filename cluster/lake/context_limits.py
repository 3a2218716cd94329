"""How many tokens of prompt and answer a candidate takes: an input of a run, by its name."""

import json
from pathlib import Path

import polars as pl

from cluster.candidate import is_candidate_file, load_candidates
from cluster.errors import InputError
from cluster.lake.candidates import long_name, newest_specs
from cluster.lake.lake import Lake
from cluster.lake.tables import CANDIDATES
from cluster.spec_file import read_spec_file

OFF = "off"


def read_context_limits(path: str, *, lake: Lake) -> dict[str, int]:
    """Tokens by candidate's name, from a file of them or a candidate file.

    Without a file, the `max_model_len` of the candidates that came with one; none at all for `off`.
    Candidates of the lake that share a name are also found by their long names; by the short one
    the least of them counts.

    Raises:
        InputError: the file is neither, or a limit is no whole number above 0.
    """
    if path == OFF:
        return {}
    if path:
        return _limits_in_file(path)
    specs = newest_specs(lake.scan(CANDIDATES)).collect()
    shared = set(specs.filter(pl.col("name").is_duplicated())["name"])
    limits: dict[str, int] = {}
    for candidate_id, name, spec in specs.iter_rows():
        own = json.loads(spec).get("max_model_len")
        if own:
            limits[name] = min(own, limits.get(name, own))
        if own and name in shared:
            limits[long_name(name, candidate_id=candidate_id)] = own
    return limits


def _limits_in_file(path: str) -> dict[str, int]:
    if is_candidate_file(path):
        found = {candidate.name: candidate.max_model_len for candidate in load_candidates(path)}
        return {name: tokens for name, tokens in found.items() if tokens is not None}
    entries = read_spec_file(Path(path), flag="--max-context")
    if not isinstance(entries, dict):
        raise InputError(f"{path}: expected a line 'name: tokens' a candidate, got {entries!r}")
    for name, tokens in entries.items():
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
            raise InputError(
                f"{path}: candidate '{name}': expected a whole number of tokens above 0, "
                f"got {tokens!r}"
            )
    return {str(name): tokens for name, tokens in entries.items()}

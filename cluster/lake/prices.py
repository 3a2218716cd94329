"""Prices: inputs of a run, by candidate's name."""

import json
from pathlib import Path

from cluster.candidate import load_candidates, load_prices
from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.lake.tables import CANDIDATES
from cluster.price import Price


def read_prices(path: str, *, lake: Lake) -> dict[str, Price]:
    """Prices from a price file or a candidate file; without one, those the candidates came with.

    Raises:
        InputError: the file is neither, or a candidate of a candidate file has no price.
    """
    if not path:
        return _prices_in_lake(lake)
    if not _is_candidate_file(Path(path)):
        return load_prices(path)
    candidates = load_candidates(path)
    without = [candidate.name for candidate in candidates if candidate.price is None]
    if without:
        raise InputError(f"{path}: no price for {', '.join(without)}; add 'price' to each entry")
    return {candidate.name: candidate.price for candidate in candidates if candidate.price}


def _is_candidate_file(path: Path) -> bool:
    try:
        return "candidates:" in path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check --prices") from error


def _prices_in_lake(lake: Lake) -> dict[str, Price]:
    rows = lake.read(CANDIDATES).select("name", "spec").iter_rows()
    found = {name: json.loads(spec).get("price") for name, spec in rows}
    return {name: Price(**price) for name, price in found.items() if price}

"""Prices: inputs of a run, by candidate's name."""

import json

from cluster.candidate import is_candidate_file, load_candidates, load_prices
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
    if not is_candidate_file(path):
        return load_prices(path)
    candidates = load_candidates(path)
    without = [candidate.name for candidate in candidates if candidate.price is None]
    if without:
        raise InputError(f"{path}: no price for {', '.join(without)}; add 'price' to each entry")
    return {candidate.name: candidate.price for candidate in candidates if candidate.price}


def _prices_in_lake(lake: Lake) -> dict[str, Price]:
    rows = lake.read(CANDIDATES).select("name", "spec").iter_rows()
    found = {name: json.loads(spec).get("price") for name, spec in rows}
    return {name: Price(**price) for name, price in found.items() if price}

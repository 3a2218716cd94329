"""Prices: inputs of a run, by candidate's name."""

import json

import polars as pl

from cluster.candidate import is_candidate_file, load_candidates, load_prices
from cluster.errors import InputError
from cluster.lake.candidates import long_name, newest_specs
from cluster.lake.lake import Lake
from cluster.lake.tables import CANDIDATES
from cluster.price import Price


def read_prices(path: str, *, lake: Lake) -> dict[str, Price]:
    """Prices from a price file or a candidate file; without one, those the candidates came with.

    Candidates of the lake that share a name are also found by their long names.

    Raises:
        InputError: the file is neither, or a candidate of a candidate file has no price.
    """
    given = _prices_in_file(path) if path else {}
    prices = dict(given)
    specs = newest_specs(lake.scan(CANDIDATES)).collect()
    shared = set(specs.filter(pl.col("name").is_duplicated())["name"])
    for candidate_id, name, spec in specs.iter_rows():
        own = json.loads(spec).get("price")
        price = given.get(name) if path else own and Price(**own)
        if price:
            prices[name] = price
        if price and name in shared:
            prices[long_name(name, candidate_id=candidate_id)] = price
    return prices


def _prices_in_file(path: str) -> dict[str, Price]:
    if not is_candidate_file(path):
        return load_prices(path)
    candidates = load_candidates(path)
    without = [candidate.name for candidate in candidates if candidate.price is None]
    if without:
        raise InputError(f"{path}: no price for {', '.join(without)}; add 'price' to each entry")
    return {candidate.name: candidate.price for candidate in candidates if candidate.price}

"""Run a plan of scorers, one after another, in this process (see conftest.py)."""

import json
import sys
from pathlib import Path

import polars as pl

from cluster.rewards.scorer import load_scorer


def main(folder: Path) -> None:
    for name, method, settings in json.loads((folder / "plan.json").read_text()):
        scorer = load_scorer(method, **settings).resolved(folder)
        with scorer.open() as rate:
            rated = rate(pl.read_parquet(folder / f"{name}.answers"))
        rated.ratings.write_parquet(folder / f"{name}.ratings")
        rated.battles.write_parquet(folder / f"{name}.battles")
        (folder / f"{name}.usage").write_text(json.dumps(vars(rated.usage)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

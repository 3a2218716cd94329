"""The import job, run by hand: what is there already is counted and stays."""

import polars as pl
import pytest

from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Run
from cluster.lake.lake import Lake
from cluster.lake.tables import REWARDS


@pytest.fixture
def do(tmp_path):
    def run(rows: dict) -> dict:
        path = tmp_path / "scores.csv"
        pl.DataFrame(rows).write_csv(path)
        spec = ImportSpec(
            lake=str(tmp_path / "lake"),
            format="table",
            path=str(path),
            digest=path_digest(str(path)),
            dataset="scores",
        )
        return import_table(spec, Run.of(spec))

    return run


def test_rows_that_are_there_are_counted_and_stay(do, tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    first = do({"text": ["a", "b"], "small": [0.0, 1.0], "large": [1.0, 1.0]})
    assert (first["new_queries"], first["queries_already_there"]) == (2, 0)
    assert (first["new_rewards"], first["rewards_already_there"]) == (4, 0)
    assert "in the lake already" not in caplog.text
    second = do({"text": ["a", "b", "c"], "small": [0.5, 0.5, 0.5], "large": [1.0, 1.0, 1.0]})
    assert (second["new_queries"], second["queries_already_there"]) == (1, 2)
    assert (second["new_rewards"], second["rewards_already_there"]) == (2, 4)
    assert "2 queries and 4 rewards were in the lake already" in caplog.text
    assert Lake.open(tmp_path / "lake").read(REWARDS)["value"].sum() == 3.0 + 1.5

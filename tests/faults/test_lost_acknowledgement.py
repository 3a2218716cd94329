"""A commit that went through although the store said it did not: its answer was lost on the way."""

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import TAGS


def tags(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"query_id": ids, "tagger_id": "t", "tag": "x"})


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first commit is made and then reported as refused."""
    made = DeltaTable.create_write_transaction
    calls: list[int] = []

    def refused_afterwards(*words, **named) -> None:
        made(*words, **named)
        calls.append(1)
        if len(calls) == 1:
            raise CommitFailedError("the answer was lost")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", refused_afterwards)


@pytest.mark.usefixtures("deaf")
def test_its_rows_are_there_once_and_readable(root: str) -> None:
    lake = Lake.open(root)
    assert append_new(tags("a", "b"), lake=lake, table=TAGS) == 2
    assert append_new(tags("b", "c"), lake=lake, table=TAGS) == 1
    assert sorted(lake.read(TAGS)["query_id"]) == ["a", "b", "c"]

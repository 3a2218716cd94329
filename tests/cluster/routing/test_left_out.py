"""Reasons are counted and the first rows kept, however many rows are broken."""

import polars as pl

from cluster.routing.left_out import FIRST_ROWS, MOST_REASONS, OTHER_REASONS, LeftOut


def broken(reasons: list[str], first: int = 1) -> pl.DataFrame:
    rows = range(first, first + len(reasons))
    return pl.DataFrame({"file": "f", "row": rows, "reason": reasons, "raw": "x" * 3000})


def test_the_most_frequent_reason_comes_first_and_so_do_the_first_rows():
    found = LeftOut()
    found.add(broken(["blank", "blank", "not a text"]))
    found.add(broken(["not a text"] * 4, first=10))
    told = found.as_json()
    assert told["reasons"] == [
        {"reason": "not a text", "rows": 5},
        {"reason": "blank", "rows": 2},
    ]
    assert [row["row"] for row in told["first"]] == [1, 2, 3, 10, 11][:FIRST_ROWS]
    assert all(len(row["raw"]) <= 200 for row in told["first"])


def test_ever_new_reasons_stay_few():
    found = LeftOut()
    for part in range(5):
        found.add(broken([f"{part}-{n}" for n in range(200)]))
    reasons = {one["reason"]: one["rows"] for one in found.as_json()["reasons"]}
    assert len(reasons) == MOST_REASONS + 1
    assert sum(reasons.values()) == 1000
    assert reasons[OTHER_REASONS] == 1000 - MOST_REASONS

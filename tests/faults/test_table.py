"""The fault table counts what was tried and what has passed."""

import pytest

from tests.faults.table import FaultTable


def test_a_try_that_fails_counts_as_one_that_has_not_passed() -> None:
    table = FaultTable()
    with table.run("killed", where="train"):
        pass
    with pytest.raises(AssertionError), table.run("killed", where="train"):
        raise AssertionError
    with table.run("full disk", where="route"):
        pass
    told = ["| killed | train | 2 | 1 |", "| full disk | route | 1 | 1 |", "| all | | 3 | 2 |"]
    assert table.markdown().splitlines()[2:] == told

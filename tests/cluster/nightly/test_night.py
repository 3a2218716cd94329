"""A night's folder: settled once, whoever asks and however often."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from cluster.lake.lake import Lake
from cluster.nightly.night import Night


@pytest.fixture
def lake(root: str) -> Lake:
    return Lake.open(root)


def begin(**facts: Any) -> Any:
    return lambda before: {"before": before, **facts}


def test_a_night_that_was_not_finished_goes_on_with_what_it_began_with(lake: Lake) -> None:
    first = Night.open(lake, series="a", begin=begin(files=1))
    assert first.settle("train", lambda: {"spec": 1}) == {"spec": 1}
    again = Night.open(lake, series="a", begin=begin(files=2))
    assert (again.number, again.begun, again.resumed) == (1, {"before": None, "files": 1}, True)
    assert again.settle("train", lambda: {"spec": 2}) == {"spec": 1}
    assert again.settled("gate") is None


def test_a_finished_night_is_followed_by_another_that_knows_it(lake: Lake) -> None:
    night = Night.open(lake, series="a", begin=begin())
    assert night.finish({"why": "one"}) == {"why": "one"}
    assert night.finish({"why": "two"}) == {"why": "one"}
    after = Night.open(lake, series="a", begin=begin())
    assert (after.number, after.begun, after.resumed) == (2, {"before": {"why": "one"}}, False)
    other = Night.open(lake, series="b", begin=begin())
    assert (other.number, other.begun) == (1, {"before": None})


def test_two_at_once_do_one_night_together(lake: Lake) -> None:
    start = Barrier(2)

    def run(who: int) -> tuple[Any, Any, Any]:
        start.wait()
        night = Night.open(lake, series="a", begin=begin(who=who))
        settled = night.settle("train", lambda: {"who": who})
        return night.begun, settled, night.finish({"who": who})

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(run, (1, 2))
    # The second may have come when the first had finished, and then has a night of its own.
    assert one == other or one[0]["who"] != other[0]["who"]

"""A night's folder: settled once, whoever asks and however often."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from cluster.lake.lake import Lake
from cluster.nightly.night import Night, NightAbandonedError


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


def test_an_abandoned_night_is_closed_for_good_and_the_next_looks_at_all_it_left(
    lake: Lake,
) -> None:
    Night.open(lake, series="a", begin=begin(rewards=7, standing={"queries": 3}))
    dead = lambda night: f"{night.number} is dead" if night.number == 1 else ""  # noqa: E731
    after = Night.open(lake, series="a", begin=begin(), give_up=dead)
    assert (after.number, after.resumed) == (2, False)
    before = after.begun["before"]
    told = {name: before[name] for name in ("verdict", "why", "rewards_version", "standing")}
    assert told == {
        "verdict": "abandoned",
        "why": "1 is dead",
        "rewards_version": 7,
        "standing": {"queries": 3},
    }
    again = Night.open(lake, series="a", begin=begin(), give_up=dead)
    assert (again.number, again.resumed) == (2, True)


def test_a_kill_between_abandoning_and_beginning_loses_nothing(lake: Lake) -> None:
    Night.open(lake, series="a", begin=begin(rewards=7))

    def killed(_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Night.open(lake, series="a", begin=killed, give_up=lambda night: "dead")
    after = Night.open(lake, series="a", begin=begin(), give_up=lambda night: "another reason")
    assert (after.number, after.begun["before"]["why"]) == (2, "dead")


def test_who_works_on_a_night_that_another_abandons_is_told_at_the_next_step(lake: Lake) -> None:
    working = Night.open(lake, series="a", begin=begin())
    working.settle("generate", lambda: {"asked": 1})
    Night.open(lake, series="a", begin=begin(), give_up=lambda night: "the file has changed")
    assert working.settle("generate", lambda: {"asked": 2}) == {"asked": 1}
    with pytest.raises(NightAbandonedError, match=r"night 1 .*the file has changed"):
        working.settle("train", lambda: pytest.fail("a step of an abandoned night was begun"))
    with pytest.raises(NightAbandonedError):
        working.finish({"verdict": "promoted"})
    assert working.settled("train") is None


def test_a_night_that_was_finished_first_is_not_abandoned(lake: Lake) -> None:
    working = Night.open(lake, series="a", begin=begin())

    def finished_meanwhile(night: Night) -> str:
        working.finish({"verdict": "kept"})
        return "dead"

    after = Night.open(lake, series="a", begin=begin(), give_up=finished_meanwhile)
    assert (after.number, after.begun["before"]) == (2, {"verdict": "kept"})


def test_two_who_abandon_at_once_begin_one_night_together(lake: Lake) -> None:
    Night.open(lake, series="a", begin=begin())
    start = Barrier(2)

    def run(who: int) -> tuple[int, Any]:
        def dead(night: Night) -> str:
            if night.number > 1:
                return ""
            start.wait()
            return f"says {who}"

        night = Night.open(lake, series="a", begin=begin(who=who), give_up=dead)
        return night.number, night.begun

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(run, (1, 2))
    assert one == other
    assert one[0] == 2

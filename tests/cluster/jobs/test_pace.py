"""What a job says of its pace, by a clock that is set by hand."""

from cluster.jobs.pace import Pace


def paced(moments: list[float], *, total: int, before: int = 0) -> Pace:
    return Pace(total, before=before, clock=iter(moments).__next__)


def test_rate_and_time_left_count_what_this_attempt_did() -> None:
    pace = paced([10.0, 12.0, 14.0], total=1000, before=500)
    pace.add(100)
    assert pace.note() == "50 rows/s, 8 s left"
    pace.add(400)
    assert (pace.note(), pace.rows) == ("125 rows/s", 1000)


def test_without_a_total_no_time_is_promised() -> None:
    pace = paced([0.0, 1.0], total=0)
    pace.add(70_000)
    assert pace.note() == "70,000 rows/s"


def test_the_steady_state_leaves_starting_up_out() -> None:
    pace = paced([0.0, 9.0, 10.0, 11.0], total=30)
    assert pace.steady() is None
    pace.add(10)
    assert pace.steady() is None, "one lot tells of no rate"
    pace.add(10)
    pace.add(10)
    assert pace.steady() == 10.0

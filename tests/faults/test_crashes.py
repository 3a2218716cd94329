"""Which boundaries of a trace are crash points."""

from pathlib import Path

from tests.faults.crashes import crash_points


def test_a_slow_run_has_the_crash_points_of_a_fast_one(tmp_path: Path) -> None:
    def points(*, seconds: int) -> list[str]:
        clock = [f"write.before {name}.json" for name in ("progress", "follower")] * seconds
        work = ["commit.before rewards", "commit.before rewards"]
        trace = tmp_path / "trace"
        trace.write_text("".join(f"7 {place}\n" for place in (*work, *clock, *work)))
        return crash_points(trace)

    assert points(seconds=1) == points(seconds=9)
    assert "write.before follower.json:1" in points(seconds=1)
    assert "commit.before rewards:4" in points(seconds=1)

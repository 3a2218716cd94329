"""When a job may think that nobody follows it any more."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cluster.jobs.follower import FILE, FOLLOWED, PATIENCE_SECONDS, Silence, signs_of_life
from cluster.jobs.run import Run
from cluster.storage import Storage

# A job in a hurry, whose word of why it ends cannot be written: a folder is in its place.
JOB = """
import sys, time
from cluster.jobs import follower
from cluster.jobs.run import Run
from cluster.storage import Storage
follower.LOOK_SECONDS = 0.01
follower.PATIENCE_SECONDS = 0.1
follower.end_without_follower(Run(Storage.at(sys.argv[1]), "work"))
time.sleep(60)
"""

gaps = st.lists(st.floats(0.1, 60.0), min_size=2, max_size=60)


@given(gaps)
def test_signs_that_change_are_never_silence_however_long_a_look_takes(gaps: list[float]) -> None:
    silence, now = Silence(), 0.0
    for number, gap in enumerate(gaps):
        now += gap
        silence.look(str(number).encode(), now=now)
        assert not silence.is_longer_than(PATIENCE_SECONDS)


@given(gaps, st.sampled_from([b"sign", None]))
def test_silence_takes_both_time_and_looks(gaps: list[float], sign: bytes | None) -> None:
    """A machine that stood still sees much time and few looks; a fast one many looks at once."""
    silence, now = Silence(), 0.0
    for number, gap in enumerate(gaps):
        silence.look(sign, now=now)
        long_enough = number >= 5 and now >= PATIENCE_SECONDS
        assert silence.is_longer_than(PATIENCE_SECONDS) == long_enough
        now += gap


def test_a_sign_after_silence_is_life() -> None:
    silence = Silence()
    for second in range(0, 60, 2):
        silence.look(b"one", now=float(second))
    assert silence.is_longer_than(PATIENCE_SECONDS)
    silence.look(b"two", now=60.0)
    assert not silence.is_longer_than(PATIENCE_SECONDS)


def test_a_job_whose_last_word_cannot_be_written_ends_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "runs" / "work" / "error.json").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", JOB, tmp_path],
        env=os.environ | {FOLLOWED: "1"},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        timeout=50,
    )
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert "nobody follows this job" in done.stderr
    assert "error.json" in done.stderr


def test_a_sign_that_cannot_be_deleted_is_told_and_is_no_failure(tmp_path: Path, caplog) -> None:
    run = Run(Storage.at(tmp_path), "work")
    sign = Path(run.uri(FILE))
    with signs_of_life(run):
        sign.unlink()
        (sign / "in the way").mkdir(parents=True)
    assert "could not be deleted" in caplog.text

"""When a job may think that nobody follows it any more."""

from hypothesis import given
from hypothesis import strategies as st

from cluster.jobs.follower import PATIENCE_SECONDS, Silence

gaps = st.lists(st.floats(0.1, 60.0), min_size=2, max_size=60)


@given(gaps)
def test_signs_that_change_are_never_silence_however_long_a_look_takes(gaps: list[float]) -> None:
    silence, now = Silence(), 0.0
    for number, gap in enumerate(gaps):
        now += gap
        silence.look(str(number).encode(), now=now)
        assert not silence.is_long


@given(gaps, st.sampled_from([b"sign", None]))
def test_silence_takes_both_time_and_looks(gaps: list[float], sign: bytes | None) -> None:
    """A machine that stood still sees much time and few looks; a fast one many looks at once."""
    silence, now = Silence(), 0.0
    for number, gap in enumerate(gaps):
        silence.look(sign, now=now)
        long_enough = number >= 5 and now >= PATIENCE_SECONDS
        assert silence.is_long == long_enough
        now += gap


def test_a_sign_after_silence_is_life() -> None:
    silence = Silence()
    for second in range(0, 60, 2):
        silence.look(b"one", now=float(second))
    assert silence.is_long
    silence.look(b"two", now=60.0)
    assert not silence.is_long

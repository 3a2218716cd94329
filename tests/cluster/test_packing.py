"""Pools on GPUs: the largest first, shares together, never more than there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.candidate import Candidate
from cluster.packing import Gpus, Pool, pools_of, waves


def candidate(name: str, gpus: float = 0.0, replicas: int = 1) -> Candidate:
    resources = {"gpus": gpus, "replicas": replicas}
    return Candidate(name=name, engine="vllm", model="m", resources=resources)


def names(pools: list[Pool]) -> list[list[str]]:
    return [[one.name for one in pool.candidates] for pool in pools]


def test_each_model_on_gpus_has_its_pool_the_largest_first_and_the_rest_takes_turns():
    found = pools_of([candidate("a"), candidate("half", 0.5), candidate("b"), candidate("four", 4)])
    assert names(found) == [["four"], ["half"], ["a", "b"]]


def test_without_gpus_there_is_one_pool_in_the_order_of_the_file():
    assert names(pools_of([candidate("b"), candidate("a")])) == [["b", "a"]]


def test_shares_have_one_gpu_together_and_leave_the_others_whole():
    gpus = Gpus(2)
    assert gpus.take(Pool((candidate("a"),), 0.5)) == {0: 0.5}
    assert gpus.take(Pool((candidate("b"),), 0.5)) == {0: 0.5}
    assert gpus.take(Pool((candidate("c"),), 1)) == {1: 1.0}
    assert gpus.take(Pool((candidate("d"),), 0.1)) is None


def test_three_thirds_are_a_whole_one():
    gpus = Gpus(1)
    taken = [gpus.take(Pool((candidate("x"),), 1 / 3)) for _ in range(3)]
    assert None not in taken


def test_as_many_replicas_as_there_is_room_for():
    gpus = Gpus(3)
    assert gpus.take(Pool((candidate("a"),), 2, replicas=2)) == {0: 1.0, 1: 1.0}


def test_what_cannot_run_at_once_comes_in_turns():
    pools = pools_of([candidate("cpu"), candidate("two", 2), candidate("one", 1)])
    assert [names(wave) for wave in waves(pools, gpus=2)] == [[["two"], ["cpu"]], [["one"]]]
    assert [names(wave) for wave in waves(pools, gpus=3)] == [[["two"], ["one"], ["cpu"]]]


POOLS = st.lists(
    st.tuples(st.sampled_from([0.1, 0.25, 0.5, 1.0, 2.0, 4.0]), st.integers(1, 3)), max_size=8
)


@given(wanted=POOLS, count=st.integers(0, 8))
def test_no_gpu_is_given_away_twice_and_all_come_back(wanted, count):
    gpus = Gpus(count)
    pools = [Pool((candidate("x"),), size, replicas) for size, replicas in wanted]
    taken = [gpus.take(pool) for pool in pools]
    assert all(-1e-6 <= free <= 1 for free in gpus.free)
    for one in taken:
        gpus.give_back(one or {})
    assert gpus.free == pytest.approx([1.0] * count)


@given(wanted=POOLS, count=st.integers(0, 8))
def test_every_pool_has_a_turn_and_just_one(wanted, count):
    pools = [
        Pool((candidate(f"x{number}"),), size, replicas)
        for number, (size, replicas) in enumerate(wanted)
    ]
    shown = [pool for wave in waves(pools, gpus=count) for pool in wave]
    assert sorted(names(shown)) == sorted(names(pools))


@pytest.mark.parametrize("gpus", [1.5, 2.25])
def test_half_a_gpu_beside_whole_ones_is_refused(gpus):
    with pytest.raises(ValueError, match="whole number"):
        candidate("x", gpus)

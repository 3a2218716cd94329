"""The queue of the route job: each shard once, whoever asks, and a stretch by one worker."""

from hypothesis import given
from hypothesis import strategies as st

from cluster.jobs.route_queue import Queue
from cluster.jobs.route_worker import Task
from cluster.routing.shard import Shard, Stretch


def run_of(number: int, *, shards: int) -> list[Shard]:
    stretch = Stretch(0, (number,), 100 * number + 1, shards, shards)
    return [Shard(0, stretch.first_row + place, 1, stretch) for place in range(shards)]


@given(
    st.lists(st.integers(1, 9), max_size=5),
    st.integers(0, 4),
    st.lists(st.integers(0, 3), max_size=80),
    st.sets(st.integers(0, 30)),
)
def test_every_shard_that_is_left_goes_out_once(lengths, handed, workers, done) -> None:
    runs = [run_of(number, shards=length) for number, length in enumerate(lengths)]
    texts = [Task(Shard(1, place + 1, 1)) for place in range(handed)]
    every = [shard.key for run in runs for shard in run] + [task.shard.key for task in texts]
    through = {every[place] for place in done if place < len(every)}
    queue = Queue(iter(runs), handed=iter(texts), done=through)
    given = []
    for worker in [*workers, *([0] * (len(every) + 1))]:
        was_through, task = queue.is_through(), queue.take(worker)
        assert was_through == (task is None)
        given.append(task)
    keys = [task.shard.key for task in given if task is not None]
    assert sorted(keys) == sorted(set(every) - through)


def test_a_worker_goes_on_where_it_was_and_takes_over_from_the_slowest_at_the_end() -> None:
    queue = Queue(iter([run_of(0, shards=6), run_of(1, shards=2)]), handed=iter(()), done=())

    def rows(worker: int, count: int) -> list[int]:
        tasks = [queue.take(worker) for _ in range(count)]
        return [task.shard.first_row for task in tasks if task is not None]

    assert rows(0, 1) == [1]
    assert rows(1, 3) == [101, 102, 4]
    assert rows(0, 2) == [2, 3]
    assert rows(1, 2) == [5, 6]
    assert rows(0, 1) == rows(1, 1) == []


def test_what_a_dead_worker_held_goes_to_others() -> None:
    queue = Queue(iter([run_of(0, shards=4)]), handed=iter(()), done=())
    first = queue.take(0)
    assert first is not None
    assert queue.put_back(first) == 1
    queue.forget(0)
    found = [queue.take(1) for _ in range(5)]
    assert sorted(task.shard.first_row for task in found if task) == [1, 2, 3, 4]


def test_deaths_are_counted_for_each_shard_by_itself() -> None:
    """A machine that is lost takes many workers along, and none of their shards is to blame."""
    queue = Queue(iter([run_of(0, shards=9)]), handed=iter(()), done=())
    tasks = [task for task in (queue.take(0) for _ in range(9)) if task is not None]
    assert [queue.put_back(task) for task in tasks] == [1] * 9
    assert queue.put_back(tasks[3]) == 2

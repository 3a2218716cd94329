"""Which shard is next, and for whom."""

from collections import Counter, deque
from collections.abc import Collection, Iterator

from cluster.jobs.route_worker import Task
from cluster.routing.shard import Shard


class Queue:
    """Shards to hand out.

    A worker gets the shards of a stretch of a Parquet file one after the other, so that it reads
    each page once. When no stretch is left it takes over the latter half of another worker's. What
    has to be read here, and is handed over with its rows, comes last.
    """

    def __init__(
        self, stretches: Iterator[list[Shard]], *, handed: Iterator[Task], done: Collection[str]
    ) -> None:
        """`done`: keys of shards that are through already."""
        left = ([shard for shard in run if shard.key not in done] for run in stretches)
        self.stretches = deque(deque(run) for run in left if run)
        self.handed = (task for task in handed if task.shard.key not in done)
        self.back: deque[Task] = deque()
        self.deaths: Counter[str] = Counter()
        self.held: dict[int, deque[Shard]] = {}

    def take(self, worker: int) -> Task | None:
        """The next task of a worker, by its number; None when there is none left."""
        if self.back:
            return self.back.popleft()
        if not self.held.get(worker):
            self.held[worker] = self.stretches.popleft() if self.stretches else self._half()
        if self.held[worker]:
            return Task(self.held[worker].popleft())
        return next(self.handed, None)

    def is_through(self) -> bool:
        """Whether nothing is left to hand out."""
        if not self.back and (task := next(self.handed, None)) is not None:
            self.back.append(task)
        return not (self.back or self.stretches or any(self.held.values()))

    def put_back(self, task: Task) -> int:
        """A task whose worker died; returns how often that has happened to this shard."""
        self.back.append(task)
        self.deaths[task.shard.key] += 1
        return self.deaths[task.shard.key]

    def forget(self, worker: int) -> None:
        """A worker that died asks no more; what it had not begun goes to the others."""
        held = self.held.pop(worker, None)
        if held:
            self.stretches.append(held)

    def _half(self) -> deque[Shard]:
        longest = max(self.held.values(), key=len, default=deque[Shard]())
        # The last one as well: whoever holds it is busy with another.
        count = (len(longest) + 1) // 2
        return deque(reversed([longest.pop() for _ in range(count)]))

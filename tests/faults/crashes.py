"""Work that dies at each of its write boundaries in turn, and the same work done again.

The boundaries are not listed anywhere: an undisturbed run leaves a trace of those it passes, and
each pass is one crash point.
"""

import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.failpoint import TRACE_VARIABLE

# Other names of a boundary that the storage names too.
SAME = ("shard.before_write", "shard.after_write", "manifest.before", "manifest.after")
SAME += ("route.before_part", "route.after_part")
SAME += ("night.settle.before", "night.settle.after", "night.reported")
# Written by the clock, not by the work: another run passes it more or fewer times.
BY_THE_CLOCK = "progress.json"
# Written first by the work, and then every few seconds.
THEN_BY_THE_CLOCK = "follower.json"
# Of so many crash points one is tried by `make test`, all by `make chaos`.
STRIDE = 20

Process = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Work:
    """Something to do that may die on the way.

    Attributes:
        name: of the work, for the table.
        root: everything it writes lies below; it is put back before every try.
        process: does it, in a process of its own; keywords are `failpoint` and the environment.
        facts: what must be equal whatever happened on the way.
        when_dead: called once nobody works any more, before it is done again.
        checked: called when it has been done again, with what `when_dead` returned.
    """

    name: str
    root: Path
    process: Process
    facts: Callable[[], Any]
    when_dead: Callable[[], Any] = lambda: None
    checked: Callable[[Any], None] = lambda _: None

    @property
    def pristine(self) -> Path:
        return self.root.with_name(f"{self.root.name}-pristine")

    def keep(self) -> None:
        """Note how everything is before the first try."""
        shutil.copytree(self.root, self.pristine)

    def restore(self) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(self.pristine, self.root)

    def do(self, **env: str) -> None:
        done = self.process(**env)
        assert done.returncode == 0, done.stderr[-3000:]

    def undisturbed(self) -> tuple[Any, list[str]]:
        """The facts of a run that nothing happens to, and its crash points."""
        trace = self.root.with_name(f"{self.root.name}-trace")
        trace.unlink(missing_ok=True)
        self.restore()
        self.do(**{TRACE_VARIABLE: str(trace)})
        return self.facts(), crash_points(trace)

    def die_and_do_again(self, point: str, *, calm: Any) -> None:
        self.restore()
        done = self.process(failpoint=point)
        assert done.returncode == -signal.SIGKILL, f"{point} was not passed: {done.stderr[-3000:]}"
        left = self.when_dead()
        self.do()
        facts = self.facts()
        assert facts == calm, f"{point}: differs in {_differs(facts, calm)}"
        self.checked(left)


def _differs(facts: Any, calm: Any) -> Any:
    """By name where there are names, else all of it."""
    if not isinstance(facts, dict):
        return facts, calm
    names = facts.keys() | calm.keys()
    return {
        name: (facts.get(name), calm.get(name))
        for name in names
        if facts.get(name) != calm.get(name)
    }


def crash_points(trace: Path) -> list[str]:
    """`place:turn` of every boundary that a process has passed, in its order."""
    turns: Counter[str] = Counter()
    points = []
    for line in trace.read_text().splitlines():
        place = line.partition(" ")[2]
        turns[place] += 1
        if _is_a_point(place, turn=turns[place]):
            points.append(f"{place}:{turns[place]}")
    return points


def _is_a_point(place: str, *, turn: int) -> bool:
    """Whether every run passes a boundary, at whatever speed, that often."""
    if place in SAME or place.endswith(BY_THE_CLOCK):
        return False
    return turn == 1 or not place.endswith(THEN_BY_THE_CLOCK)


def few(points: Sequence[str]) -> list[str]:
    """Those for every day."""
    return list(points[min(STRIDE, len(points)) // 2 :: STRIDE])


def rest(points: Sequence[str]) -> list[str]:
    """All others."""
    return [point for point in points if point not in set(few(points))]

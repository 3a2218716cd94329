"""How fast a job gets on: what it says while it works, and what it tells of itself at the end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Pace:
    """Rows a second over the rows that come.

    Attributes:
        total: rows in all, 0 where it is not known.
        rows: rows through, `before` among them.
        before: rows that an earlier attempt was through with.
        clock: seconds, from any moment on.
    """

    total: int
    before: int = 0
    clock: Callable[[], float] = time.monotonic
    rows: int = field(init=False)
    start: float = field(init=False)
    first: float | None = field(init=False, default=None)
    last: float = field(init=False)
    rows_at_first: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.rows = self.before
        self.start = self.last = self.clock()

    def add(self, rows: int) -> None:
        """So many rows more are through."""
        self.rows += rows
        self.last = self.clock()
        if self.first is None:
            self.first, self.rows_at_first = self.last, self.rows

    def note(self) -> str:
        """`81,204 rows/s, 12 s left`."""
        rate = (self.rows - self.before) / max(self.last - self.start, 1e-9)
        told = f"{rate:,.0f} rows/s"
        left = self.total - self.rows
        return f"{told}, {left / rate:,.0f} s left" if left > 0 and rate else told

    def steady(self) -> float | None:
        """Rows a second from the first rows to the last, starting up left out; None for one lot."""
        if self.first is None or self.last <= self.first:
            return None
        return (self.rows - self.rows_at_first) / (self.last - self.first)

    def seconds(self, *, since: float, looked: float) -> dict[str, float | None]:
        """Seconds from `since` on.

        Args:
            since: a moment of the clock.
            looked: seconds that looking at the input took.
        """
        first = None if self.first is None else self.first - since
        return {
            "input_looked_at": looked,
            "first_rows": first,
            "last_rows": self.last - since,
            "all": self.clock() - since,
        }

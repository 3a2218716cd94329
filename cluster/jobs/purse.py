"""A cap on what a run spends, kept by everybody who spends.

Who is about to spend sets aside the most it can come to; what it came to is settled afterwards.
So the sum of what was spent never exceeds the cap by more than a tokenizer that needs more tokens
than its text has bytes, or by a GPU whose time cannot be told beforehand.
"""

import threading
from dataclasses import dataclass, field


@dataclass
class Purse:
    """Money for one run, shared by the threads of its candidates.

    Attributes:
        cap: USD there are; None: no end of them.
        spent: USD that are gone.
        set_aside: USD that what runs at the moment may come to.
    """

    cap: float | None = None
    spent: float = 0.0
    set_aside: float = 0.0
    changed: threading.Condition = field(default_factory=threading.Condition, repr=False)

    @property
    def left(self) -> float:
        """USD that may still be set aside."""
        return float("inf") if self.cap is None else self.cap - self.spent - self.set_aside

    def take(self, costs: list[float], *, patient: bool) -> int:
        """How many of the first of these can be paid; what they may come to is set aside.

        Args:
            costs: USD that each may come to at most.
            patient: wait until others have settled, while nothing can be paid yet.
        """
        with self.changed:
            while True:
                n, total = self._affordable(costs)
                if n or not costs or not (patient and self.set_aside > 0):
                    self.set_aside += total
                    return n
                self.changed.wait()

    def _affordable(self, costs: list[float]) -> tuple[int, float]:
        total = 0.0
        for n, cost in enumerate(costs):
            if total + cost > self.left:
                return n, total
            total += cost
        return len(costs), total

    def settle(self, *, set_aside: float, spent: float) -> None:
        """Put back what was set aside, and note what it came to; USD."""
        with self.changed:
            self.set_aside = max(0.0, self.set_aside - set_aside)
            self.spent += spent
            self.changed.notify_all()

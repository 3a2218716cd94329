"""The fault table: what was done to a run, where, how often, and how often nothing showed it.

A test that breaks something asks for the fixture `fault_table` and wraps each try:

    with fault_table.run("a worker is killed", where="generate"):
        ...  # break it, run it again, look at what is there

A try counts when the block is entered and has passed when it ends well. The table stands at the
end of the run's report; `--fault-table FILE` writes it as Markdown too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Count:
    """How often something was tried, and how often it did no harm."""

    runs: int = 0
    passed: int = 0


@dataclass
class FaultTable:
    """Counts by (fault, where), in the order in which they came."""

    rows: dict[tuple[str, str], Count] = field(default_factory=dict)

    @contextmanager
    def run(self, fault: str, *, where: str) -> Iterator[None]:
        """Count one try, and that it passed when the block ends well."""
        row = self.rows.setdefault((fault, where), Count())
        row.runs += 1
        yield
        row.passed += 1

    def markdown(self) -> str:
        """The rows and their sum."""
        lines = ["| fault | where | runs | passed |", "|---|---|---:|---:|"]
        lines += [
            f"| {fault} | {where} | {row.runs} | {row.passed} |"
            for (fault, where), row in self.rows.items()
        ]
        runs, passed = (sum(getattr(row, name) for row in self.rows.values()) for name in FIELDS)
        return "\n".join([*lines, f"| all | | {runs} | {passed} |", ""])


FIELDS = ("runs", "passed")

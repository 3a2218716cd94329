"""What was found about a batch of labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["admitted", "refused", "partly refused", "too few to tell"]


@dataclass(frozen=True)
class Change:
    """One candidate whose level is another than it was, by labels that are believed.

    Attributes:
        candidate: its name.
        shift: mean reward above what was expected, beside that of the other candidates.
        low, high: bounds of it.
        n: queries behind it.
    """

    candidate: str
    shift: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Admission:
    """What becomes of a batch.

    Attributes:
        batch: its name.
        verdict: `admitted` and `too few to tell` are trained on.
        why: in words.
        labels: rewards in it.
        refused: candidates whose labels are kept out; all of the batch's where it is refused.
        changed: candidates that answer better or worse than they did.
        agreement: share of the usual agreement with what was expected, over queries and over
            candidates; NaN where it cannot be told.
        small: of batches that are too few to tell, the query_ids that are judged together.
    """

    batch: str
    verdict: Verdict
    why: str
    labels: int
    refused: tuple[str, ...] = ()
    changed: tuple[Change, ...] = ()
    agreement: tuple[float, float] = (float("nan"), float("nan"))
    small: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """For a table: `batch`, `labels`, `verdict`, `why`."""
        return {
            "batch": self.batch,
            "labels": self.labels,
            "verdict": self.verdict,
            "why": self.why,
        }

    def as_json(self) -> dict[str, Any]:
        """JSON values of all of it; NaN is null."""
        found = asdict(self)
        found["agreement"] = [None if one != one else one for one in self.agreement]  # noqa: PLR0124
        return found

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Admission":
        """The inverse of `as_json`."""
        over_queries, over_candidates = (
            float("nan") if one is None else float(one) for one in found["agreement"]
        )
        return cls(
            **{
                **found,
                "refused": tuple(found["refused"]),
                "changed": tuple(Change(**one) for one in found["changed"]),
                "agreement": (over_queries, over_candidates),
                "small": tuple(found.get("small", ())),
            }
        )


def refused(admissions: Sequence[Admission]) -> list[Admission]:
    """Those of which labels are kept out."""
    return [one for one in admissions if one.refused]

"""Whom tonight's routers may choose: who could answer tomorrow.

A candidate that was taken out of the candidate file keeps its rewards in the lake, and would be
chosen for them though nobody can ask it any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from cluster import registry
from cluster.candidate import Candidate
from cluster.errors import InputError
from cluster.jobs.train import TrainSpec
from cluster.lake.candidates import imported_ids
from cluster.lake.lake import Lake
from cluster.lake.outcomes import rewarded_candidates
from cluster.routers.checkpoint import read_manifest


@dataclass(frozen=True)
class Choices:
    """The candidates that have rewards: those of the candidate file and of imported tables, and
    those that are gone.

    Attributes:
        here, gone: candidate_id → readable name.
    """

    here: dict[str, str]
    gone: dict[str, str]

    @classmethod
    def of(cls, candidates: Sequence[Candidate], *, spec: TrainSpec, lake: Lake) -> Self:
        """At the lake's versions that are trained on.

        Args:
            candidates: of the file; none: nobody is asked, and nobody is gone.
            spec: of the training.
            lake: where.

        Raises:
            InputError: the dataset has no rewards.
        """
        if not candidates:
            return cls({}, {})
        there = rewarded_candidates(
            lake, dataset=spec.dataset, scorer=spec.scorer, also=spec.also, versions=spec.inputs
        )
        known = imported_ids(lake) | {one.candidate_id for one in candidates}
        here = {key: name for key, name in there.items() if key in known}
        return cls(here, {key: name for key, name in there.items() if key not in known})

    @property
    def names(self) -> tuple[str, ...]:
        """To train on; empty: all there are, as nobody is gone.

        Raises:
            InputError: all who have rewards are gone.
        """
        if self.gone and not self.here:
            raise InputError(
                "--candidates: no candidate of the file has a reward as yet, only "
                f"{', '.join(self.gone.values())}, not in it as they were asked: there is nothing "
                "to learn that could run; collect with the file, or put one of them back"
            )
        return tuple(sorted(self.here.values())) if self.gone else ()


def unavailable(candidates: Sequence[Candidate], *, lake: Lake) -> dict[str, Any] | None:
    """`version` and `candidates`: whom the champion may choose though they are not in the file;
    None where there is nobody."""
    version = registry.champion(lake)
    if version is None or not candidates:
        return None
    checkpoint = read_manifest(registry.resolve(lake, version=version)["checkpoint"])
    known = imported_ids(lake) | {one.candidate_id for one in candidates}
    named = zip(checkpoint.candidates, checkpoint.candidate_ids, strict=True)
    gone = [name for name, key in named if key not in known]
    return {"version": version, "candidates": gone} if gone else None

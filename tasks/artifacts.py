"""What a run leaves to look at in the Prefect UI: progress bars and tables."""

import re
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from cluster.jobs.run import Part


def artifact_key(*words: str) -> str:
    """Words as a key: lower-case letters, digits and dashes are all Prefect takes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-") or "artifact"


class ProgressArtifacts:
    """One progress artifact a part of a job; each is made once and then moved."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.ids: dict[str, UUID] = {}
        self.shares: dict[str, float] = {}

    def show(self, parts: list[Part]) -> None:
        """Move the artifacts to where the parts are."""
        for part in parts:
            share = 100.0 * part.done / part.total if part.total else 0.0
            if self.shares.get(part.name) == share:
                continue
            self.shares[part.name] = share
            if part.name in self.ids:
                update_progress_artifact(self.ids[part.name], progress=share)
            else:
                self.ids[part.name] = self._create(part, share=share)

    def _create(self, part: Part, *, share: float) -> UUID:
        made: Any = create_progress_artifact(
            progress=share,
            key=artifact_key(self.job, part.name),
            description=f"{self.job}: {part.name}, {part.total} {part.unit}",
        )
        return UUID(str(made))


def table_artifact(rows: list[dict[str, Any]], *, key: str, description: str) -> None:
    """A table in the UI; nothing for no rows."""
    if rows:
        create_table_artifact(table=rows, key=artifact_key(key), description=description)

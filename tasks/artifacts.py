"""What a run leaves to look at in the Prefect UI: progress bars, tables, texts, pages, pictures."""

import base64
import re
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
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
        self.shown: dict[str, Part] = {}

    def show(self, parts: list[Part]) -> None:
        """Move the artifacts to where the parts are."""
        for part in parts:
            if self.shown.get(part.name) == part:
                continue
            share = 100.0 * part.done / part.total if part.total else 0.0
            words = self._words(part)
            if part.name in self.ids:
                update_progress_artifact(self.ids[part.name], progress=share, description=words)
            else:
                self.ids[part.name] = self._create(part, share=share, words=words)
            self.shown[part.name] = part

    def _words(self, part: Part) -> str:
        """What stands beside the bar."""
        counted = f"{part.done} of {part.total} {part.unit}"
        return f"{self.job}: {', '.join(filter(None, [part.name, counted, part.note]))}"

    def _create(self, part: Part, *, share: float, words: str) -> UUID:
        made: Any = create_progress_artifact(
            progress=share, key=artifact_key(self.job, part.name), description=words
        )
        return UUID(str(made))


def table_artifact(rows: list[dict[str, Any]], *, key: str, description: str) -> None:
    """A table in the UI; nothing for no rows."""
    if rows:
        create_table_artifact(table=rows, key=artifact_key(key), description=description)


def markdown_artifact(text: str, *, key: str, description: str) -> None:
    """A text in the UI."""
    create_markdown_artifact(markdown=text, key=artifact_key(key), description=description)


def link_artifact(uri: str, *, key: str, description: str) -> None:
    """A page that was written, by its address."""
    create_link_artifact(link=uri, key=artifact_key(key), description=description)


def png_artifact(content: bytes, *, key: str, description: str) -> None:
    """A picture, with its content: the server may not reach where it was written."""
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    create_image_artifact(image_url=url, key=artifact_key(key), description=description)

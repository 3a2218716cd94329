"""What a run leaves to look at in the Prefect UI: progress bars, tables, texts, pages, pictures."""

import base64
import re
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from cluster.evaluation.table import UNKNOWN
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
    """A table in the UI, its names in words and its numbers short; nothing for no rows."""
    if rows:
        shown = [{_heading(name): _cell(value) for name, value in row.items()} for row in rows]
        create_table_artifact(table=shown, key=artifact_key(key), description=description)


def _heading(name: str) -> str:
    """A column's name, which a narrow table can break into lines."""
    return name.replace("_", " ")


def _cell(value: Any) -> Any:
    """Four digits of a number tell enough, and seventeen push the next columns off the page."""
    if value is None:
        return UNKNOWN
    return float(f"{value:.4g}") if isinstance(value, float) and abs(value) < 1000 else value


def markdown_artifact(text: str, *, key: str, description: str) -> None:
    """A text in the UI."""
    create_markdown_artifact(markdown=text, key=artifact_key(key), description=description)


def link_artifact(uri: str, *, key: str, description: str) -> None:
    """A page that was written, by its address; a file's path stays to be read and copied.

    Browsers open no file from a page of a server, so that the path itself must be there.
    """
    path = Path(uri)
    link = path.as_uri() if path.is_absolute() else uri
    create_link_artifact(
        link=link,
        # Shown as it is, backslashes and all, so that what would end it is written otherwise.
        link_text=uri.replace("[", "%5B").replace("]", "%5D"),
        key=artifact_key(key),
        description=description,
    )


def plain(text: str) -> str:
    """A text that Markdown shows as it is."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>()#+!|$~" else sign for sign in text)


def png_artifact(content: bytes, *, key: str, description: str) -> None:
    """A picture, with its content: the server may not reach where it was written.

    As Markdown, because the page of an image writes its address below it, which here is all of it.
    """
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    markdown_artifact(f"![{plain(description)}]({url})", key=key, description=description)

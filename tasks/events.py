"""What happened to a lake, told to Prefect: automations listen, and the UI shows it.

An event is news and no record: what it tells of stands in the lake already, and nothing fails
where nobody hears of it. Told again by a run that goes on after a kill, it is the same event, and
the server keeps it once.
"""

import re
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL

from cluster.lake.lake import Lake

EventName = Literal[
    "signalbox.router.promoted",
    "signalbox.router.kept",
    "signalbox.router.rolled-back",
    "signalbox.labels.refused",
    "signalbox.drift.found",
    "signalbox.retrain.finished",
    "signalbox.retrain.failed",
]
RESOURCE = "signalbox.lake"
# The server takes 1.5 MB; a text longer than this is a report's, and nobody reads it in an event.
LONGEST_TEXT = 2_000


def resource_id(lake: Lake) -> str:
    """What events about a lake are about: `signalbox.lake.` and its address in plain letters."""
    address = lake.storage.uri.partition("://")[2] or lake.storage.uri
    name = re.sub(r"[^a-z0-9]+", "-", address.lower()).strip("-") or "root"
    return f"{RESOURCE}.{name}"


def emit(name: EventName, *, lake: Lake, payload: dict[str, Any], key: str = "") -> None:
    """Tell the Prefect server that hears of this run, if one does.

    Args:
        name: what happened.
        lake: where.
        payload: JSON values that say more; the lake's address is added as `lake`.
        key: what tells this event from others of its name in this lake, such as a version and its
            number; told twice with one key it is one event. Empty: every telling is another.
    """
    if FlowRunContext.get() is None and not PREFECT_API_URL.value():
        return
    own = uuid5(NAMESPACE_URL, f"{lake.storage.uri}#{name}#{key}") if key else None
    emit_event(
        event=name,
        resource={
            "prefect.resource.id": resource_id(lake),
            "prefect.resource.name": lake.storage.uri,
        },
        payload={
            "lake": lake.storage.uri,
            **{field: _short(one) for field, one in payload.items()},
        },
        id=own,
    )


def _short(value: Any) -> Any:
    return value[:LONGEST_TEXT] if isinstance(value, str) else value

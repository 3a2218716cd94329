"""Events about a lake, as Prefect's server has them."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.lake.lake import Lake
from cluster.storage import Storage
from tasks.events import LONGEST_TEXT, emit, resource_id

pytestmark = pytest.mark.usefixtures("prefect")


def events_of(lake: Lake) -> list[Any]:
    """What the server has heard about a lake."""
    from prefect.client.orchestration import get_client
    from prefect.events.filters import EventFilter, EventResourceFilter

    async def ask() -> list[Any]:
        async with get_client() as client:
            about = EventResourceFilter(id=[resource_id(lake)])
            page = await client.read_events(filter=EventFilter(resource=about), limit=50)
            return list(page.events)

    return asyncio.run(ask())


def heard(lake: Lake, *, until: Callable[[list[Any]], bool]) -> list[Any]:
    deadline = time.monotonic() + 30
    while not until(events := events_of(lake)):
        assert time.monotonic() < deadline, events
        time.sleep(0.3)
    return events


def test_an_event_told_twice_with_one_key_is_one(tmp_path: Path) -> None:
    lake = Lake.open(str(tmp_path / "lake"))
    for version in ("one", "two", "one"):
        emit("signalbox.router.promoted", lake=lake, payload={"version": version}, key=version)
    emit("signalbox.retrain.finished", lake=lake, payload={"why": "x" * 2 * LONGEST_TEXT})
    events = heard(
        lake, until=lambda found: "signalbox.retrain.finished" in [e.event for e in found]
    )
    promoted = [e.payload for e in events if e.event == "signalbox.router.promoted"]
    assert sorted(told["version"] for told in promoted) == ["one", "two"]
    assert all(told["lake"] == lake.storage.uri for told in promoted)
    finished = next(e for e in events if e.event == "signalbox.retrain.finished")
    assert len(finished.payload["why"]) == LONGEST_TEXT


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://bucket/Some/lake", "signalbox.lake.bucket-some-lake"),
        ("/srv/my lake", "signalbox.lake.srv-my-lake"),
        ("/", "signalbox.lake.root"),
    ],
)
def test_lakes_go_by_their_address(uri: str, name: str) -> None:
    assert resource_id(Lake(Storage.at(uri))) == name

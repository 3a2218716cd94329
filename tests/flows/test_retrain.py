"""Nights as their operator sees them: files come in, a router is promoted, a bad one is taken off.

On one lake in order, as every night goes on from the one before.
"""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS, QUERIES
from tasks.events import resource_id
from tests.night_world import write_candidates, write_queries

SECRET = "hook-secret-51c7"


class Hook(HTTPServer):
    """Keeps what is posted to it."""

    posted: list[dict[str, Any]]


class _Keep(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Hook)
        length = int(self.headers["content-length"])
        self.server.posted.append(json.loads(self.rfile.read(length)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    """A webhook on loopback."""
    server = Hook(("127.0.0.1", 0), _Keep)
    server.posted = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def blocks(prefect_api: str, hook: Hook) -> None:
    """`custom-webhook/living` and, to an address where nobody listens, `custom-webhook/dead`."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_api}):
        for name, port in (("living", hook.server_port), ("dead", 9)):
            block = CustomWebhookNotificationBlock(
                name=name,
                url=f"http://127.0.0.1:{port}/{SECRET}",
                json_data={"subject": "{{subject}}", "body": "{{body}}"},
            )
            block.save(name, overwrite=True)


class Nights:
    """A lake, a watched folder and the command."""

    def __init__(self, signalbox: Any, *, folder: Path) -> None:
        self.signalbox, self.folder = signalbox, folder
        self.lake, self.watch = folder / "lake", folder / "watch"
        self.candidates = write_candidates(folder)

    def __call__(self, *more: object, **env: str) -> Any:
        words = ("--watch", self.watch, "--candidates", self.candidates, "--lake", self.lake)
        return self.signalbox("retrain", *words, *more, **env)


@pytest.fixture(scope="module")
def nights(signalbox: Any, blocks: None, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    return Nights(signalbox, folder=tmp_path_factory.mktemp("nights"))


@pytest.fixture(scope="module")
def first(nights: Nights) -> dict[str, Any]:
    """Killed when the gate had promoted, and run again."""
    write_queries(nights.watch, name="monday", n=400, seed=1)
    write_queries(nights.watch, name="young", n=20, seed=2, old=False)
    words = ("--notify", "custom-webhook/living", "--max-usd", "1")
    killed = nights(*words, SIGNALBOX_FAILPOINT="retrain.decided")
    assert killed.status < 0, killed.err
    manifest: dict[str, Any] = nights(*words).manifest
    return manifest


def events(lake: Path, *, prefect_api: str, until: str) -> list[Any]:
    """What the server has heard about a lake, oldest first, once it has heard of `until`."""
    from prefect.client.orchestration import get_client
    from prefect.events.filters import EventFilter, EventResourceFilter
    from prefect.settings import PREFECT_API_URL, temporary_settings

    async def ask() -> list[Any]:
        about = EventResourceFilter(id=[resource_id(Lake.open(lake))])
        async with get_client() as client:
            page = await client.read_events(filter=EventFilter(resource=about), limit=50)
        return list(page.events)

    deadline = time.monotonic() + 30
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        found = asyncio.run(ask())
        while until not in [one.event for one in found]:
            assert time.monotonic() < deadline, found
            time.sleep(0.3)
            found = asyncio.run(ask())
    return sorted(found, key=lambda one: one.occurred)


def test_new_files_become_a_champion_and_a_kill_changes_nothing(
    nights: Nights, first: dict[str, Any], hook: Hook, prefect_api: str
) -> None:
    assert first["verdict"] == "promoted", first["why"]
    assert first["number"] == 1
    assert first["champion"] == first["decision"]["version"]
    assert [Path(file["uri"]).stem for file in first["files"]] == ["monday"]
    assert [Path(file["uri"]).stem for file in first["left"]] == ["young"]
    assert first["new"] == {"queries": 400, "answers": 800, "rewards": 800, "released": 0}
    # 15 tokens an answer, at one USD a million.
    assert first["spent_usd"] == pytest.approx(800 * 15e-6)
    lake = Lake.open(nights.lake)
    assert lake.read(COMPLETIONS).height == 800
    heard = events(nights.lake, prefect_api=prefect_api, until="signalbox.retrain.finished")
    promoted = [one.payload for one in heard if one.event == "signalbox.router.promoted"]
    assert [one["version"] for one in promoted] == [first["champion"]]
    [word] = hook.posted
    assert "is champion now" in word["subject"]
    assert first["why"] in word["body"]
    assert first["report"] in word["body"]
    assert "is champion now" in Path(first["report"]).read_text()


def test_a_night_with_nothing_new_says_so_and_spends_nothing(
    nights: Nights, first: dict[str, Any]
) -> None:
    """Nor is a job run, or the night failed because nobody could be told."""
    before = nights.lake / "runs"
    runs = sorted(before.iterdir())
    result = nights("--settle-seconds", 1e6, "--notify", "custom-webhook/dead")
    manifest = result.manifest
    assert manifest["verdict"] == "nothing new"
    assert manifest["spent_usd"] == 0.0
    assert manifest["champion"] == first["champion"]
    assert "custom-webhook/dead" in manifest["not_notified"]
    assert sorted(before.iterdir()) == runs
    assert SECRET not in result.err + result.out


def test_a_capped_night_stops_and_the_next_goes_on(nights: Nights, first: dict[str, Any]) -> None:
    """With a new kind of query, which drift tells of; the young file is whole by now."""
    del first
    for name, seed in (("tuesday", 3), ("wednesday", 4)):
        write_queries(nights.watch, name=name, n=100, seed=seed)
    capped = nights("--max-usd", "0.003", "--settle-seconds", "0").manifest
    assert capped["stopped"]
    assert 0 < capped["spent_usd"] <= 0.003
    assert {Path(file["uri"]).stem for file in capped["files"]} == {"young", "tuesday", "wednesday"}
    assert capped["new"]["queries"] == 220
    assert capped["drift"]["queries"] > 100
    rest = nights("--max-usd", "1").manifest
    assert not rest["stopped"]
    lake = Lake.open(nights.lake)
    assert lake.read(COMPLETIONS).height == 2 * lake.read(QUERIES).height == 2 * 620
    assert rest["spent_usd"] == pytest.approx((2 * 620 - 800) * 15e-6 - capped["spent_usd"])


def test_rollback_is_one_command_and_heard_of(
    nights: Nights, first: dict[str, Any], prefect_api: str
) -> None:
    lake = ("--lake", nights.lake)
    listed = nights.signalbox("registry", "list", *lake).manifest["versions"]
    other = next(row["version"] for row in listed if row["version"] != first["champion"])
    nights.signalbox("registry", "promote", "--router", other, *lake).manifest  # noqa: B018
    back = nights.signalbox("registry", "rollback", "--why", "it was bad", *lake).manifest
    assert back["taken_off"] == other
    heard = events(nights.lake, prefect_api=prefect_api, until="signalbox.router.rolled-back")
    told = next(one.payload for one in heard if one.event == "signalbox.router.rolled-back")
    assert (told["version"], told["why"]) == (back["champion"], "it was bad")


def test_a_night_that_fails_is_told_and_gone_on_with(
    nights: Nights, hook: Hook, prefect_api: str, tmp_path: Path
) -> None:
    own = Nights(nights.signalbox, folder=tmp_path)
    write_queries(own.watch, name="one", n=40, seed=5)
    script = tmp_path / "sum.json"
    good = script.read_text()
    script.write_text(json.dumps({"": "broken: out of order"}))
    words = ("--notify", "custom-webhook/living")
    own(*words).refused("out of order")
    assert "failed" in hook.posted[-1]["subject"]
    assert "out of order" in hook.posted[-1]["body"]
    events(own.lake, prefect_api=prefect_api, until="signalbox.retrain.failed")
    script.write_text(good)
    manifest = own(*words).manifest
    assert manifest["number"] == 1
    assert manifest["verdict"] == "kept"
    assert manifest["new"]["answers"] == 80


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--watch", "none"), ("--watch", "does not exist")),
        (("--notify", "slack"), ("--notify 'slack'", "slack-webhook/nightly")),
        (("--max-usd", "1"), ("--max-usd", "--candidates")),
        (("--candidates", "none.yaml"), ("none.yaml",)),
    ],
)
def test_what_can_be_told_is_told_before_anything_is_started(
    flags: tuple[str, ...], words: tuple[str, ...], told: Any, tmp_path: Path
) -> None:
    told("retrain", *flags, "--lake", tmp_path / "lake").refused(*words)
    assert not (tmp_path / "lake").exists()

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

import polars as pl
import pytest

from cluster import registry
from cluster.errors import InputError
from cluster.gate.decision import Decision
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS, QUERIES
from cluster.storage import Storage
from flows.retrain import RetrainParams, retrain
from tasks.events import resource_id
from tests.night_world import WRONG, write_candidates, write_queries

SECRET = "hook-secret-51c7"
# A tenth is the snapshot: enough for the gate to be sure at the level of a first look.
MONDAY = 1500
POISON = 100


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
    """A lake, a watched folder and the command; both on S3 where there is a `root`."""

    def __init__(self, signalbox: Any, *, folder: Path, root: str = "") -> None:
        self.signalbox, self.folder = signalbox, folder
        self.watch = folder / "watch"
        self.lake, self.watched = (f"{root or folder}/{name}" for name in ("lake", "watch"))
        self.candidates = write_candidates(folder)

    def __call__(self, *more: object, **env: str) -> Any:
        words = ("--watch", self.watched, "--candidates", self.candidates, "--lake", self.lake)
        return self.signalbox("retrain", *words, *more, **env)


@pytest.fixture(scope="module")
def nights(signalbox: Any, blocks: None, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    return Nights(signalbox, folder=tmp_path_factory.mktemp("nights"))


@pytest.fixture(scope="module")
def first(nights: Nights) -> dict[str, Any]:
    """Killed when the gate had promoted, and run again."""
    write_queries(nights.watch, name="monday", n=MONDAY, seed=1)
    write_queries(nights.watch, name="young", n=20, seed=2, old=False)
    words = ("--notify", "custom-webhook/living", "--max-usd", "1")
    killed = nights(*words, SIGNALBOX_FAILPOINT="retrain.decided")
    assert killed.status < 0, killed.err
    manifest: dict[str, Any] = nights(*words).manifest
    return manifest


def events(lake: str, *, prefect_api: str, until: str) -> list[Any]:
    """What the server has heard about a lake, oldest first, once it has heard of `until`."""
    from prefect.client.orchestration import get_client
    from prefect.events.filters import EventFilter, EventResourceFilter
    from prefect.settings import PREFECT_API_URL, temporary_settings

    async def ask() -> list[Any]:
        about = EventResourceFilter(id=[resource_id(Lake.at(lake))])
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
    assert first["new"] == {
        "queries": MONDAY, "answers": 2 * MONDAY, "rewards": 2 * MONDAY, "released": 0,
    }  # fmt: skip
    # 15 tokens an answer, at one USD a million.
    assert first["spent_usd"] == pytest.approx(2 * MONDAY * 15e-6)
    lake = Lake.open(nights.lake)
    assert lake.read(COMPLETIONS).height == 2 * MONDAY
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
    before = Path(nights.lake, "runs")
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
    """The young file is whole by now. The next night has a file more, whose right answers are the
    wrong ones: its labels are kept out, what is left of the honest ones is let in."""
    del first
    for name, seed in (("tuesday", 3), ("wednesday", 4)):
        write_queries(nights.watch, name=name, n=100, seed=seed)
    capped = nights("--max-usd", "0.003", "--settle-seconds", "0").manifest
    assert capped["stopped"]
    assert 0 < capped["spent_usd"] <= 0.003
    assert {Path(file["uri"]).stem for file in capped["files"]} == {"young", "tuesday", "wednesday"}
    assert capped["new"]["queries"] == 220
    assert capped["drift"]["queries"] > 100
    write_queries(nights.watch, name="poison", n=POISON, seed=6, reference=WRONG)
    rest = nights("--max-usd", "1").manifest
    assert not rest["stopped"]
    lake, queries = Lake.open(nights.lake), MONDAY + 220 + POISON
    assert lake.read(COMPLETIONS).height == 2 * lake.read(QUERIES).height == 2 * queries
    spent = 2 * (220 + POISON) * 15e-6
    assert rest["spent_usd"] == pytest.approx(spent - capped["spent_usd"])
    verdicts = {row["batch"].split()[-1]: row for row in rest["admissions"]}
    refused = [name for name, row in verdicts.items() if row["refused"]]
    assert [Path(name).stem for name in refused] == ["poison"], verdicts
    assert "turned round" in verdicts[refused[0]]["why"]
    learned = sum(rest["rows"].values())
    assert learned <= MONDAY + 220
    page = Path(rest["report"]).read_text()
    assert "batches kept out" in page
    assert "turned round" in page


def test_rollback_is_one_command_and_heard_of(
    nights: Nights, first: dict[str, Any], prefect_api: str
) -> None:
    lake = Lake.open(nights.lake)
    listed = registry.versions(lake)["version"]
    other = next(version for version in listed if version != registry.champion(lake))
    by_hand = Decision(promote=True, why="to be taken off")
    registry.promote(lake, version=other, decide=lambda _: by_hand)
    words = ("registry", "rollback", "--why", "it was bad", "--lake", nights.lake)
    back = nights.signalbox(*words).manifest
    assert back["taken_off"] == other
    heard = events(nights.lake, prefect_api=prefect_api, until="signalbox.router.rolled-back")
    told = next(one.payload for one in heard if one.event == "signalbox.router.rolled-back")
    assert (told["version"], told["why"]) == (back["champion"], "it was bad")


def test_a_night_on_s3_that_fails_is_told_and_gone_on_with(
    nights: Nights, hook: Hook, prefect_api: str, s3_root: str, tmp_path: Path
) -> None:
    """Nobody is paid for answers to what was routed, as `exact` could not reward them."""
    own = Nights(nights.signalbox, folder=tmp_path, root=s3_root)
    written = write_queries(own.watch, name="one", n=40, seed=5)
    Storage.at(own.watched).write(f"{own.watched}/one.jsonl", written.read_bytes())
    route_queries(own.lake, n=10)
    script = tmp_path / "sum.json"
    good = script.read_text()
    script.write_text(json.dumps({"": "broken: out of order"}))
    words = ("--notify", "custom-webhook/living")
    own(*words).refused("out of order")
    assert "failed" in hook.posted[-1]["subject"]
    assert "out of order" in hook.posted[-1]["body"]
    assert "--abandon-night 1" in hook.posted[-1]["body"]
    events(own.lake, prefect_api=prefect_api, until="signalbox.retrain.failed")
    script.write_text(good)
    manifest = own(*words).manifest
    assert manifest["number"] == 1
    # Forty queries are too few to freeze a snapshot of.
    assert manifest["verdict"] in ("kept", "not measured")
    assert (manifest["new"]["queries"], manifest["new"]["answers"]) == (50, 80)
    unasked = {"dataset": "routed", "queries": 10, "scorers": ["exact"]}
    assert manifest["unasked"] == [unasked]
    assert "not asked: 10 queries of 'routed'" in hook.posted[-1]["body"]
    [file] = manifest["files"]
    assert file["uri"] == f"{own.watched}/one.jsonl"


def route_queries(lake: str, *, n: int) -> None:
    """Queries that `route` has copied into the lake as feedback: nobody knows the right answer."""
    rows = pl.DataFrame({"text": [f"add the numbers ending {number % 10}" for number in range(n)]})
    named = rows.with_row_index("number").with_columns(
        query_id=pl.format("routed {}", "number"),
        dataset=pl.lit("routed"),
        task=pl.lit("sum"),
        split=pl.lit("train"),
        sampling_probability=pl.lit(0.1),
    )
    append_new(QUERIES.conform(named).collect(), lake=Lake.open(lake), table=QUERIES)


def test_a_night_that_cannot_begin_is_told_of(
    blocks: None, hook: Hook, prefect_api: str, tmp_path: Path
) -> None:
    """As a deployment runs it, which nobody has looked at before."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    lake = str(tmp_path / "lake")
    params = RetrainParams(watch="/nowhere", lake=lake, notify="custom-webhook/living")
    with (
        temporary_settings({PREFECT_API_URL: prefect_api}),
        pytest.raises(InputError, match="/nowhere"),
    ):
        retrain(params)
    assert "could not begin" in hook.posted[-1]["subject"]
    assert "/nowhere does not exist" in hook.posted[-1]["body"]
    heard = events(lake, prefect_api=prefect_api, until="signalbox.retrain.failed")
    assert "/nowhere" in heard[-1].payload["why"]


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

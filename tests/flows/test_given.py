"""What a user sets on a deployment in the UI stays when `up` is started again."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.runner import Runner
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.deployments import DEPLOYMENTS, NIGHTLY
from flows.services.given import Given, latest, make_known
from flows.services.nightly import nightly_values
from flows.services.nights import nightly_words

[RETRAIN] = [one for one in DEPLOYMENTS if one.name == NIGHTLY]
NOTHING = Given()
FIRST = Given(lake="/first", candidates="/c.yaml", nightly={"max_usd": 5.0})


def test_whoever_spoke_last_is_heard() -> None:
    found = {"lake": "/first", "max_usd": 3, "methods": ["knn"], "candidates": "/c.yaml"}
    before = {"lake": "/first", "max_usd": 5, "candidates": "/c.yaml"}
    given = {"lake": "/second", "max_usd": 5}
    assert latest(found, given=given, before=before) == {
        "lake": "/second",
        "max_usd": 3,
        "methods": ["knn"],
    }
    assert latest(found, given=given | {"max_usd": 7}, before=before)["max_usd"] == 7


def test_a_nightly_file_is_checked_before_anything_is_started(told: Any, tmp_path: Path) -> None:
    nightly = tmp_path / "nightly.yaml"
    for lines, words in (
        ("max-uds: 5", "unknown field 'max_uds'; did you mean 'max_usd'?"),
        ("max-usd: 5", "nobody is asked without a candidate file"),
        ("watch: elsewhere", "elsewhere"),
        ("", "there is no field"),
    ):
        nightly.write_text(lines)
        told("up", "--nightly", nightly, "--lake", tmp_path / "lake").refused(words)
    assert not (tmp_path / "lake").exists()
    nightly.unlink()
    told("up", "--nightly", nightly).refused("--nightly", "there is no such file")


def test_files_of_nights_are_found_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nightly.yaml").write_text("watch: new/\ncandidates: s3://bucket/c.yaml\nmax-usd: 5\n")
    assert nightly_values("nightly.yaml") == {
        "watch": str(tmp_path / "new"),
        "candidates": "s3://bucket/c.yaml",
        "max_usd": 5.0,
    }


class Server:
    """The nightly deployment on the tests' Prefect server, made known as `up` does it."""

    def __init__(self, api: str) -> None:
        self.api = api

    def make_known(self, given: Given, *, before: Given) -> None:
        with temporary_settings({PREFECT_API_URL: self.api}):
            asyncio.run(_make_known(given, before=before))

    def words(self, **patience: float) -> str:
        """What `up` says of the nights."""
        with temporary_settings({PREFECT_API_URL: self.api}):
            return asyncio.run(_words(**patience))

    def found(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.api}/deployments/name/{NIGHTLY}/{NIGHTLY}", timeout=60)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def change(self, path: str = "", **body: Any) -> None:
        """Change something, as the UI does."""
        url = f"{self.api}/deployments/{self.found()['id']}{path}"
        httpx.patch(url, json=body, timeout=60).raise_for_status()

    def change_schedule(self, **body: Any) -> None:
        [schedule] = self.found()["schedules"]
        self.change(f"/schedules/{schedule['id']}", **body)

    def active(self) -> list[bool]:
        return [each["active"] for each in self.found()["schedules"]]

    def forget(self) -> None:
        for one in httpx.post(f"{self.api}/deployments/filter", json={}, timeout=60).json():
            if one["name"] == NIGHTLY:
                httpx.delete(f"{self.api}/deployments/{one['id']}", timeout=60)


async def _make_known(given: Given, *, before: Given) -> None:
    async with get_client() as client:
        await make_known(RETRAIN, runner=Runner(), client=client, given=given, before=before)


async def _words(**patience: float) -> str:
    async with get_client() as client:
        return await nightly_words(client, **patience)


@pytest.fixture
def server(prefect_api: str) -> Iterator[Server]:
    """Without the deployment; other tests of the session have theirs."""
    server = Server(prefect_api)
    server.forget()
    yield server
    server.forget()


def test_nights_begin_with_their_parameters(server: Server) -> None:
    quiet = Given(lake="/first", candidates="/c.yaml")
    server.make_known(quiet, before=NOTHING)
    assert "--nightly" in server.words()
    assert server.active() == [False]
    server.make_known(FIRST, before=quiet)
    assert server.active() == [True]
    assert server.found()["parameters"] == {
        "params": {"lake": "/first", "candidates": "/c.yaml", "max_usd": 5.0}
    }


def test_what_a_user_changed_stays_and_the_lake_stays_in_step(server: Server) -> None:
    server.make_known(FIRST, before=NOTHING)
    said = server.words()
    assert re.search(r"\(0 2 \* \* \*, UTC; next: \d{4}-\d\d-\d\d 02:00\)", said)
    assert "at most 5 USD a night" in said
    params = server.found()["parameters"]["params"] | {"max_usd": 2.0, "methods": ["knn"]}
    server.change(parameters={"params": params}, paused=True)
    moved = {"cron": "30 3 * * *", "timezone": "Europe/Berlin"}
    server.change_schedule(schedule=moved, active=False)
    second = FIRST.model_copy(update={"lake": "/second"})
    server.make_known(second, before=FIRST)
    assert "does not run by itself" in server.words()
    found = server.found()
    assert found["parameters"] == {"params": params | {"lake": "/second"}}
    assert found["paused"] is True
    [schedule] = found["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == tuple(moved.values())
    assert schedule["active"] is False


def test_other_nightly_parameters_turn_nights_on_again(server: Server) -> None:
    server.make_known(FIRST, before=NOTHING)
    server.change(paused=True)
    server.change_schedule(active=False)
    other = FIRST.model_copy(update={"nightly": {"max_usd": 7.0}})
    server.make_known(other, before=FIRST)
    assert server.found()["parameters"]["params"]["max_usd"] == 7
    assert server.active() == [True]
    assert server.found()["paused"] is False


def test_a_server_that_has_no_run_to_come_is_told_of(server: Server) -> None:
    server.make_known(FIRST, before=NOTHING)
    over = {"rrule": "FREQ=DAILY;UNTIL=20200101T000000Z", "timezone": "UTC"}
    server.change_schedule(schedule=over)
    assert "will NOT run by itself" in server.words(patience=0)

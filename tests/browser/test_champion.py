"""Promoting and rolling back by hand: one click takes a router off."""

from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Page

from cluster import registry
from cluster.lake.lake import Lake
from tests.browser.ui import Form, Server, new_run, open_deployment, run_menu

# Each run is a process that imports Prefect and the flows, and most are jobs on Ray.
pytestmark = pytest.mark.slow


@pytest.fixture
def routers(server: Server) -> tuple[str, str]:
    """Two registered versions; a router is not loaded to be promoted."""
    lake = Lake.open(server.lake)
    versions = ("a" * 64, "b" * 64)
    for version in versions:
        registry.register(
            lake,
            version=version,
            checkpoint=str(Path(server.lake) / "checkpoints" / version),
            method="knn",
            dataset="toy",
            metrics={},
            why="for this test",
        )
    return versions


def test_two_are_promoted_by_form_and_one_click_brings_the_first_back(
    routers: tuple[str, str], page: Page, server: Server
) -> None:
    lake = Lake.open(server.lake)
    for version in routers:
        form = Form.opened(page, server=server, deployment="promote")
        form.fill("Router", version)
        form.run().ended()
        assert registry.champion(lake) == version
    before = {run["id"] for run in server.runs("rollback")}
    open_deployment(page, server=server, name="rollback")
    run_menu(page, item="Quick run")
    run = new_run(page, server=server, deployment="rollback", before=before).ended()
    assert registry.champion(lake) == routers[0]
    assert "is champion again" in run.artifact("champion")

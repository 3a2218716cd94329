"""From a form to what a run left: progress, tables, pictures, pages, decisions; cancelling one."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser, Page, expect

from tests.browser.ui import PAGE_SECONDS, Form, RunPage, Server

# Each run is a process that imports Prefect and the flows, and most are jobs on Ray.
pytestmark = pytest.mark.slow

CANCEL_SECONDS = 60


@pytest.fixture(scope="module")
def desk(browser: Browser) -> Page:
    """One tab for the runs that the tests of this module look at."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(PAGE_SECONDS * 1000)
    return context.new_page()


@pytest.fixture(scope="module")
def imported(desk: Page, server: Server, folder: Path) -> RunPage:
    """A table is brought in; the line that Enter adds to a text is no part of it."""
    form = Form.opened(desk, server=server, deployment="import")
    form.choose("Format", "table")
    form.fill("Path", f"{folder / 'table.csv'}\n")
    form.fill("Dataset", "toy")
    return form.run().ended()


@pytest.fixture(scope="module")
def trained(imported: RunPage, desk: Page, server: Server) -> RunPage:
    """Two methods, one of them by gradient, and the better one before the gate."""
    form = Form.opened(desk, server=server, deployment="train")
    form.fill("Dataset", "toy")
    form.choose("Methods", "multihead")
    form.switch("Promote")
    return form.run().ended()


def wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.5)


def test_an_import_tells_what_came_in(imported: RunPage) -> None:
    told = imported.artifact("imported")
    assert "Queries by task and split" in told
    assert "word" in told


def test_a_training_tells_of_epochs_methods_and_the_decision(trained: RunPage) -> None:
    epochs = trained.artifact("train-methods-multihead")
    assert "epochs at most" in epochs
    assert "validation loss" in epochs
    table = trained.artifact("evaluation")
    for words in ("method", "accuracy %", "95 % interval", "USD per 1,000", "task_lookup", "large"):
        assert words in table
    assert "candidate:" not in table
    decision = trained.artifact("decision")
    assert "is champion now" in decision
    assert "interval" in decision


def test_the_picture_of_a_training_is_drawn(trained: RunPage) -> None:
    trained.artifact("cost-quality")
    drawn = trained.page.locator("img[src^='data:image/png']").first
    expect(drawn).to_be_visible()
    assert drawn.evaluate("image => image.naturalWidth") > 300


def test_the_tab_of_artifacts_shows_them_all(trained: RunPage) -> None:
    trained.open().tab("Artifacts")
    for key in ("evaluation", "decision", "train-methods", "train-methods-multihead"):
        cards = trained.page.locator(".artifact-card__title")
        card = cards.get_by_text(key, exact=True)
        # Cards below the edge of the page are drawn when somebody scrolls there.
        for _ in range(10):
            if card.count():
                break
            cards.last.hover()
            trained.page.mouse.wheel(0, 400)
            trained.page.wait_for_timeout(300)
        expect(card.first).to_be_visible()


def test_a_route_shows_shares_and_its_page(trained: RunPage, page: Page, folder: Path) -> None:
    form = Form.opened(page, server=trained.server, deployment="route")
    form.fill("Input", folder / "table.csv")
    form.fill("Output", folder / "routed.parquet")
    run = form.run().ended()
    assert (folder / "routed.parquet").exists()
    assert "Shares of 300 routed rows" in run.artifact("routed")
    assert "report.html" in run.artifact("routed-report")
    link = page.locator("a[href^='file:///']").first
    assert Path(str(link.get_attribute("href")).removeprefix("file://")).exists()


def test_a_run_that_cannot_be_done_says_why(trained: RunPage, page: Page, folder: Path) -> None:
    form = Form.opened(page, server=trained.server, deployment="route")
    form.fill("Input", folder / "nothing.csv")
    form.fill("Output", folder / "other.parquet")
    run = form.run().ended(kind="FAILED")
    assert "nothing.csv" in run.state()["message"]


def test_progress_is_shown_by_candidate_and_cancelling_stops_the_job(
    page: Page, server: Server, folder: Path
) -> None:
    form = Form.opened(page, server=server, deployment="collect")
    form.fill("Query files", folder / "queries.jsonl")
    form.fill("Candidate file", folder / "candidates.yaml")
    form.fill("Rows a shard", 1)
    run = form.run()
    wait_until(lambda: run.progress("generate-slow") > 0, seconds=300)
    told = run.artifact("generate-slow")
    assert "of 40 rows" in told
    run.open().cancel()
    wait_until(lambda: run.state()["type"] == "CANCELLED", seconds=CANCEL_SECONDS)
    expect(page.get_by_text("Cancelled").first).to_be_visible()
    log = folder / "echo" / "log"
    wait_until(lambda: _is_still(log), seconds=CANCEL_SECONDS)


def _is_still(log: Path) -> bool:
    """Whether no more answers come: each takes 3 s at most."""
    before = log.stat().st_size
    time.sleep(8)
    return log.stat().st_size == before

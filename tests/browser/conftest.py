"""A real browser before a real server: `signalbox up` as a user has it."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.browser.ui import Server

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
PLUGINS = Path(__file__).parents[1] / "plugins"
STOP_SECONDS = 150


@pytest.fixture(scope="package")
def browser() -> "Iterator[Browser]":
    """Chromium without a window.

    Playwright's event loop lives in this thread: it has to end with these tests, and so these
    fixtures are the package's, not the session's.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine; on Debian: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=FLAGS.split())
        yield opened
        opened.close()


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A tab of its own for each test."""
    from playwright.sync_api import expect

    from tests.browser.ui import PAGE_SECONDS

    expect.set_options(timeout=PAGE_SECONDS * 1000)
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(PAGE_SECONDS * 1000)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server's runs read and write: the lake and what goes into it."""
    found = tmp_path_factory.mktemp("browser")
    (found / "table.csv").write_text(_table())
    (found / "echo").mkdir()
    (found / "queries.jsonl").write_text(
        "".join(f'{{"text": "query {n}", "reference": "{n}"}}\n' for n in range(40))
    )
    (found / "candidates.yaml").write_text(
        "- {name: slow, engine: echo, model: '2.0', template: '{text}'}\n"
        "- {name: slower, engine: echo, model: '3.0', template: '{text}'}\n"
    )
    return found


@pytest.fixture(scope="package")
def server(browser: "Browser", folder: Path) -> "Iterator[Server]":
    """`signalbox up` for all tests; skipped before it is started where there is no browser."""
    from tests.browser.ui import Server, address_of_up

    own = {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PYTHONPATH": str(PLUGINS),
        "ECHO_FOLDER": str(folder / "echo"),
        "OMP_NUM_THREADS": "1",
    }
    left_out = ("PREFECT_API_URL", "SIGNALBOX_LAKE", "SIGNALBOX_RAY_ADDRESS")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    command = [sys.executable, "-m", "flows.cli", "up", "--port", "0", "--lake", folder / "lake"]
    log = folder / "up.log"
    with (
        log.open("wb") as words,
        subprocess.Popen(command, env=environment | own, stderr=words, cwd=folder) as process,
    ):
        try:
            yield Server(url=address_of_up(process, log=log), lake=str(folder / "lake"))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)


def _table() -> str:
    """Two tasks of 150 queries; each has a cheap specialist, a third candidate is dear."""
    draw = random.Random(0)
    success = {"sum": (0.9, 0.3, 0.6), "word": (0.2, 0.9, 0.6)}
    splits = ("train", "train", "train", "validation", "test", "test")
    lines = ["text,task,split,small,medium,large,cost:small,cost:medium,cost:large"]
    for number in range(300):
        task = ("sum", "word")[number % 2]
        text = {"sum": "what is {} plus {}", "word": "spell backwards item{} letter{}"}[task]
        text = text.format(draw.randint(0, 999), number)
        scores = ",".join(str(int(draw.random() < share)) for share in success[task])
        split = splits[number // 2 % len(splits)]
        lines.append(f"{text},{task},{split},{scores},0.0001,0.0002,0.001")
    return "\n".join(lines) + "\n"

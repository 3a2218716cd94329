"""How long it takes from `signalbox up` to a run that somebody started by hand in the browser.

    python tests/bench/bench_up.py [--rounds 3]

Each round starts `signalbox up` with an empty lake and an empty Prefect home, and a browser. As
soon as the address is printed, the browser opens the list of deployments, the deployment `import`
and its form, fills it in as fast as a machine does, and submits. Prints, in seconds since the
command was started: the address, the list in the browser, the form, the click on Submit, the run
running, the run completed; the median of the rounds, and each round.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).parents[2]))

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import FLAGS
from tests.browser.ui import PAGE_SECONDS, Form, RunPage, Server, address_of_up

STEPS = ("address", "list", "form", "submit", "running", "completed")
TABLE = "text,task,split,a,b\n" + "".join(f"query {n},t,train,{n % 2},1\n" for n in range(100))
RUN_SECONDS = 300


def main() -> None:
    """Print the seconds of each step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = [measured() for _ in range(parser.parse_args().rounds)]
    print("seconds since 'signalbox up'", *(f"round {n + 1}" for n in range(len(rounds))), sep="  ")
    for step in STEPS:
        seconds = [found[step] for found in rounds]
        each = "  ".join(f"{value:7.1f}" for value in seconds)
        print(f"{step:<12} median {statistics.median(seconds):7.1f}   {each}")


def measured() -> dict[str, float]:
    """Seconds from the start of the command to each step of one round."""
    chromium = shutil.which("chromium")
    assert chromium, "there is no chromium on this machine"
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        (folder / "table.csv").write_text(TABLE)
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS.split())
        page = browser.new_page()
        page.set_default_timeout(PAGE_SECONDS * 1000)
        start = time.monotonic()
        log = folder / "up.log"
        with log.open("wb") as words, started(folder, words=words) as process:
            try:
                return steps(process, log=log, page=page, start=start)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()
                browser.close()


def started(folder: Path, *, words: IO[bytes]) -> "subprocess.Popen[bytes]":
    """`signalbox up` on an empty lake, with a Prefect home of its own."""
    left_out = ("PREFECT_API_URL", "SIGNALBOX_LAKE", "SIGNALBOX_RAY_ADDRESS")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "up", "--port", "0", "--lake", folder / "lake"],
        env=environment | {"PREFECT_HOME": str(folder / "prefect")},
        stderr=words,
    )


def steps(
    process: "subprocess.Popen[bytes]", *, log: Path, page: Page, start: float
) -> dict[str, float]:
    """Go from the printed address to the end of a run, and note when each step was there."""
    seconds: dict[str, float] = {}

    def note(step: str) -> None:
        seconds[step] = time.monotonic() - start

    server = Server(url=address_of_up(process, log=log), lake=str(log.parent / "lake"))
    note("address")
    page.goto(f"{server.url}/deployments")
    page.get_by_role("link", name="import", exact=True).first.wait_for()
    note("list")
    form = Form.opened(page, server=server, deployment="import")
    note("form")
    form.choose("Format", "table")
    form.fill("Path", log.parent / "table.csv")
    run = form.run()
    note("submit")
    wait_for(run, states=("RUNNING", "COMPLETED"))
    note("running")
    wait_for(run, states=("COMPLETED",))
    note("completed")
    return seconds


def wait_for(run: RunPage, *, states: tuple[str, ...]) -> None:
    """Wait until a run is in one of some states."""
    deadline = time.monotonic() + RUN_SECONDS
    while (state := run.state())["type"] not in states:
        assert state["type"] not in ("FAILED", "CRASHED", "CANCELLED"), state["message"]
        assert time.monotonic() < deadline, state
        time.sleep(0.1)


if __name__ == "__main__":
    main()

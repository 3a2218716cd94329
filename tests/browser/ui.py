"""The pages of the Prefect UI that a user of the deployments goes through."""

import json
import re
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

# A page on a machine with other work may take long; one that hangs is to fail.
PAGE_SECONDS = 120
RUN_SECONDS = 300
UP_SECONDS = 400
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class Server:
    """A server with the deployments: where its UI is, and what lake its runs work on."""

    url: str
    lake: str
    ray_address: str = ""

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the API says: to a POST with a body, to a GET without."""
        request = urllib.request.Request(
            f"{self.url}/api{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment by name."""
        found = self.ask("/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        (deployment,) = found
        return dict(deployment)

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """The runs of a deployment, the newest first."""
        known = {"deployments": {"name": {"any_": [deployment]}}}
        found = self.ask("/flow_runs/filter", known | {"sort": "START_TIME_DESC"})
        return [dict(run) for run in found]


def address_of_up(process: "subprocess.Popen[bytes]", *, log: Path) -> str:
    """The address that `signalbox up`, whose words go into a file, prints when all answers."""
    deadline = time.monotonic() + UP_SECONDS
    while not (found := re.search(r"up after .*(http://\S+)/deployments", log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return found[1]


def open_deployment(page: Page, *, server: Server, name: str) -> None:
    """Look a deployment up in the list and open its page."""
    page.goto(f"{server.url}/deployments")
    page.get_by_placeholder("Search deployments...").fill(name)
    # What was typed goes into the address a moment later, which undoes a click before it.
    page.wait_for_url(re.compile(rf"NameLike={re.escape(name)}$"))
    page.get_by_role("link", name=name, exact=True).first.click()


def run_menu(page: Page, *, item: str) -> None:
    """Choose from the menu of the button Run of a deployment's page."""
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator(".p-overflow-menu-item").get_by_text(item, exact=True).click()


def new_run(page: Page, *, server: Server, deployment: str, before: set[str]) -> "RunPage":
    """The page of the one run of a deployment that is not among those before."""
    deadline = time.monotonic() + PAGE_SECONDS
    while not (new := [run for run in server.runs(deployment) if run["id"] not in before]):
        assert time.monotonic() < deadline, "no run was made"
        time.sleep(0.2)
    (made,) = new
    return RunPage(page, server, made["id"]).open()


@dataclass(frozen=True)
class Form:
    """The form of a deployment's run."""

    page: Page
    server: Server
    deployment: str

    @classmethod
    def opened(cls, page: Page, *, server: Server, deployment: str) -> "Form":
        """Open the list of deployments, the deployment, and its custom run."""
        open_deployment(page, server=server, name=deployment)
        run_menu(page, item="Custom run")
        form = cls(page, server, deployment)
        expect(form.fields().first).to_be_visible()
        return form

    def fields(self) -> Locator:
        """The fields of the parameter model, in the order they are shown."""
        return self.page.locator(".schema-form-property .schema-form-property")

    def field(self, title: str) -> Locator:
        """The field of a title; required ones have no more words than that."""
        words = re.compile(rf"^{re.escape(title)}( \(Optional\))?$")
        label = self.page.locator(".schema-form-property__label").get_by_text(words)
        return self.fields().filter(has=label)

    def fill(self, title: str, value: object) -> None:
        """Type into a field."""
        self.field(title).locator("textarea, input").first.fill(str(value))

    def switch(self, title: str) -> None:
        """Turn a switch."""
        self.field(title).get_by_role("switch").click()

    def choose(self, title: str, *options: str) -> None:
        """Choose options of a list."""
        button = self.field(title).locator(".p-select-button__control").first
        for option in options:
            button.focus()
            self.page.keyboard.press("ArrowDown")
            listed = self.page.get_by_role("listbox")
            listed.get_by_role("combobox").fill(option)
            listed.get_by_role("option").get_by_text(option, exact=True).click()
            # A list of several stays open, and hears keys where it is typed into alone.
            if listed.count():
                listed.get_by_role("combobox").press("Escape")
            expect(listed).to_have_count(0)

    def submit(self) -> None:
        """Ask for the run."""
        self.page.get_by_role("button", name="Submit").click()

    def run(self) -> "RunPage":
        """Ask for the run and open its page."""
        before = {run["id"] for run in self.server.runs(self.deployment)}
        self.submit()
        self.page.wait_for_url(re.compile(r"tab=Runs"))
        return new_run(self.page, server=self.server, deployment=self.deployment, before=before)


@dataclass(frozen=True)
class RunPage:
    """The page of a run."""

    page: Page
    server: Server
    run_id: str

    def state(self) -> dict[str, Any]:
        """The state of the run, as the server knows it."""
        return dict(self.server.ask(f"/flow_runs/{self.run_id}")["state"])

    def ended(self, *, kind: str = "COMPLETED") -> "RunPage":
        """Wait for the end of the run, and for the page to say so."""
        deadline = time.monotonic() + RUN_SECONDS
        while (state := self.state())["type"] not in ENDED:
            assert time.monotonic() < deadline, f"the run is {state['name']}"
            time.sleep(0.5)
        assert state["type"] == kind, state["message"]
        badge = self.page.locator(".state-badge", has_text=re.compile(kind, re.IGNORECASE)).first
        expect(badge).to_be_visible()
        return self

    def open(self) -> "RunPage":
        """The page of the run itself, after another."""
        self.page.goto(f"{self.server.url}/runs/flow-run/{self.run_id}")
        return self

    def tab(self, name: str) -> None:
        """A tab of the page."""
        self.page.locator(".p-tab").get_by_text(name, exact=True).click()

    def artifact(self, key: str) -> str:
        """What the page of an artifact of the run shows."""
        (found,) = self._artifacts(key)
        self.page.goto(f"{self.server.url}/artifacts/artifact/{found['id']}")
        expect(self.page.get_by_text("Show raw data")).to_be_visible()
        return self.page.locator(".app-router-view").inner_text()

    def progress(self, key: str) -> float:
        """Percent of a progress artifact, 0 before there is one."""
        return max((float(found["data"]) for found in self._artifacts(key)), default=0.0)

    def _artifacts(self, key: str) -> list[dict[str, Any]]:
        known = {"flow_run_id": {"any_": [self.run_id]}, "key": {"any_": [key]}}
        return [dict(found) for found in self.server.ask("/artifacts/filter", {"artifacts": known})]

    def cancel(self) -> None:
        """Cancel the run by its menu, and confirm."""
        self.page.get_by_role("button", name="Cancel", exact=True).first.click()
        self.page.locator(".p-modal").get_by_role("button", name="Confirm").click()

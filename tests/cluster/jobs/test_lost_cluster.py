"""A cluster that goes away between two questions: told in words, and an interrupt stays one."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster.errors import JobError
from cluster.jobs import client as client_module
from cluster.jobs.client import Listener, run_job
from cluster.jobs.run import Part, Run
from cluster.jobs.spec import JobSpec

DROPPED = 0
Answer = tuple[int, object]


class SomeSpec(JobSpec):
    """Some work."""

    job = "some"


@dataclass
class Dashboard:
    """Ray's HTTP interface as far as a client asks it; `answers` says what it says to what.

    Attributes:
        answers: (method, end of the path) → status and content; status 0 drops the connection.
        asked: the questions, in order.
    """

    address: str = ""
    answers: dict[tuple[str, str], Answer | Callable[[], Answer]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, method: str, path: str) -> Answer:
        end = path.strip("/").rsplit("/", 1)[-1]
        self.asked.append((method, end))
        answer = self.answers.get((method, end), (404, "not found"))
        return answer() if callable(answer) else answer


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    """It tells its version and knows of no job; patience with it is short."""
    for name in ("ANSWER_PATIENCE_SECONDS", "STOP_PATIENCE_SECONDS"):
        monkeypatch.setattr(client_module, name, 1.5)
    told = Dashboard()
    version = {"version": "4", "ray_version": "2", "ray_commit": "c", "session_name": "s"}
    told.answers[("GET", "version")] = (200, version)
    told.answers[("GET", "jobs")] = (200, [])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._tell("GET")

        def do_POST(self) -> None:
            self._tell("POST")

        def _tell(self, method: str) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = told.answer(method, self.path)
            if status == DROPPED:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        told.address = f"http://127.0.0.1:{server.server_port}"
        yield told
        server.shutdown()
        thread.join()


def run(dashboard: Dashboard, tmp_path: Path, *, progress: Callable[..., None] = print) -> dict:
    spec = SomeSpec(lake=str(tmp_path))
    listener = Listener(log=lambda line: None, progress=progress)
    return run_job(spec, address=dashboard.address, listener=listener)


@pytest.mark.parametrize("answer", [(500, "no head node"), (DROPPED, None)])
@pytest.mark.parametrize("question", [("GET", "jobs"), ("POST", "jobs")])
def test_no_answer_is_told_with_the_address(dashboard, tmp_path, question, answer) -> None:
    dashboard.answers[question] = answer
    with pytest.raises(JobError) as caught:
        run(dashboard, tmp_path)
    words = str(caught.value)
    assert dashboard.address in words or "Ray refused the job some-" in words
    assert "\n" not in words


def test_a_question_that_was_not_answered_is_asked_again(dashboard, tmp_path) -> None:
    """The job was submitted although the connection broke: the second try finds it there."""
    tries = iter([(DROPPED, None), (500, "Job some-1 already exists")])
    dashboard.answers[("POST", "jobs")] = lambda: next(tries)
    dashboard.answers[("GET", "jobs")] = lambda: (
        (500, "busy") if dashboard.asked.count(("GET", "jobs")) == 1 else (200, [])
    )
    # Nothing is known of the job itself, so following it ends in words.
    with pytest.raises(JobError, match="does not answer any more"):
        run(dashboard, tmp_path)
    assert next(tries, None) is None


def test_an_interrupt_is_not_masked_by_a_cluster_that_cannot_stop_the_job(
    dashboard, tmp_path, monkeypatch, caplog
) -> None:
    spec = SomeSpec(lake=str(tmp_path))
    job = {"type": "SUBMISSION", "submission_id": "x", "status": "RUNNING", "entrypoint": "x"}
    dashboard.answers[("POST", "jobs")] = (200, {"job_id": "x", "submission_id": "x"})
    dashboard.answers[("GET", f"{spec.work_id}-1")] = (200, job)
    dashboard.answers[("POST", "stop")] = (500, "no head node")

    def interrupted(parts: list[Part]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "read_progress", lambda _: [Part("rows", done=1, total=2)])
    with caplog.at_level(logging.WARNING, logger="signalbox"), pytest.raises(KeyboardInterrupt):
        run(dashboard, tmp_path, progress=interrupted)
    assert ("POST", "stop") in dashboard.asked
    assert f"job {spec.work_id}-1 could not be stopped" in caplog.text

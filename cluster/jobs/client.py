"""Submitting a job to Ray and following it: attach, return or try again, by state."""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.errors import JobError
from cluster.jobs.run import Manifest, Part, Run
from cluster.jobs.spec import JobSpec

POLL_SECONDS = 0.3
# A job submitted right after a cluster's start may be refused: no agent has registered yet.
SUBMIT_PATIENCE_SECONDS = 30.0
ALIVE = ("PENDING", "RUNNING")


@dataclass(frozen=True)
class Listener:
    """Who wants to hear of a job while it runs.

    Attributes:
        log: called with each line of the job's log.
        progress: called with the job's parts whenever they were written anew.
    """

    log: Callable[[str], None]
    progress: Callable[[list[Part]], None]


def run_job(spec: JobSpec, *, address: str, listener: Listener) -> Manifest:
    """Make sure the work of `spec` is done, and return its manifest.

    Done before: the manifest is returned and nothing runs. Running: it is followed. Otherwise the
    next attempt is submitted. When this call is interrupted, the job is stopped.

    Args:
        spec: what to do.
        address: dashboard address of the Ray cluster, `http://host:port`.
        listener: hears of log and progress.

    Raises:
        JobError: the job failed or was stopped; the text is the job's own word on why.
    """
    run = Run.of(spec)
    manifest = run.read_manifest()
    if manifest is not None:
        return manifest
    client = _client(address)
    submission = _running(client, work_id=spec.work_id) or _submit(client, spec=spec, run=run)
    try:
        status = _follow(client, submission=submission, run=run, listener=listener)
    except BaseException:
        _stop(client, submission=submission)
        raise
    manifest = run.read_manifest()
    if status == "SUCCEEDED" and manifest is not None:
        return manifest
    raise JobError(run.read_error() or _why(client, submission=submission, status=status))


def _client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    # It tells of every log stream it closes.
    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise JobError(
            f"no Ray cluster answers at {address} ({str(error).splitlines()[0]}); start it, or "
            "leave the Ray address out to use this machine"
        ) from error


def _running(client: Any, *, work_id: str) -> str | None:
    """The submission that does this work now, or None."""
    for job in client.list_jobs():
        submission = job.submission_id or ""
        if submission.startswith(f"{work_id}-") and job.status.value in ALIVE:
            return str(submission)
    return None


def _submit(client: Any, *, spec: JobSpec, run: Run) -> str:
    uri = run.write_spec(spec)
    run.clear()
    submission = f"{spec.work_id}-{_claim_attempt(run)}"
    deadline = time.monotonic() + SUBMIT_PATIENCE_SECONDS
    command = f"{_interpreter(client)} -m cluster.jobs.{spec.job} '{uri}'"
    while True:
        try:
            client.submit_job(entrypoint=command, submission_id=submission)
            return submission
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise JobError(f"Ray refused the job {submission}: {error}") from error
            time.sleep(1.0)


def _claim_attempt(run: Run) -> int:
    """The next number nobody has claimed; two submitters never get the same."""
    number = len(run.storage.list(run.uri("attempts"))) + 1
    while True:
        try:
            run.storage.write_new(run.uri("attempts", f"{number:04d}"), b"")
            return number
        except FileExistsError:
            number += 1


def _interpreter(client: Any) -> str:
    """This interpreter on a cluster of this machine, the image's own elsewhere.

    A job's `python` is the first on PATH, which need not be the virtual environment's.
    """
    local = "//127.0.0.1" in client.get_address() or "//localhost" in client.get_address()
    return sys.executable if local else "python"


def _follow(client: Any, *, submission: str, run: Run, listener: Listener) -> str:
    """Wait for the end; returns Ray's last word on the job's status."""
    tail = threading.Thread(
        target=_tail, args=(client, submission, listener.log), name="log-tail", daemon=True
    )
    tail.start()
    parts: list[Part] = []
    while True:
        status = str(client.get_job_status(submission).value)
        latest = run.read_progress()
        if latest != parts:
            parts = latest
            listener.progress(parts)
        if status not in ALIVE:
            tail.join(timeout=5)
            return status
        time.sleep(POLL_SECONDS)


def _tail(client: Any, submission: str, log: Callable[[str], None]) -> None:
    async def forward() -> None:
        rest = ""
        async for chunk in client.tail_job_logs(submission):
            *lines, rest = (rest + chunk).split("\n")
            for line in lines:
                log(line)
        if rest:
            log(rest)

    asyncio.run(forward())


def _stop(client: Any, *, submission: str) -> None:
    """Ask Ray to end the job and wait until it has; the lake keeps what was committed."""
    client.stop_job(submission)
    deadline = time.monotonic() + 10.0
    while client.get_job_status(submission).value in ALIVE and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _why(client: Any, *, submission: str, status: str) -> str:
    message = client.get_job_info(submission).message or "no reason was given"
    tail = "\n".join(client.get_job_logs(submission).splitlines()[-15:])
    return f"job {submission} ended as {status}: {message}\n{tail}"

"""Submitting a job to Ray and following it: attach, return or try again, by state."""

import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cluster.errors import JobError
from cluster.failpoint import failpoint
from cluster.jobs.follower import FOLLOWED, NOBODY, signs_of_life
from cluster.jobs.log_tail import LogTail
from cluster.jobs.run import Manifest, Part, Run
from cluster.jobs.spec import JobSpec
from cluster.ray_cluster import given_address

POLL_SECONDS = 0.3
# A job submitted right after a cluster's start may be refused: no agent has registered yet.
SUBMIT_PATIENCE_SECONDS = 120.0
# A dashboard on a busy machine may refuse a connection now and then; a job lasts hours.
ANSWER_PATIENCE_SECONDS = 20.0
STOP_PATIENCE_SECONDS = 10.0
# Whoever sleeps, as a laptop does, is taken for dead, and goes on when awake; so often and no more.
REAPED_TIMES = 3
ALIVE = ("PENDING", "RUNNING")
LOG = logging.getLogger("signalbox")


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

    Done before: nothing runs, and the manifest is returned with `done_before`. Running: it is
    followed, and where that job is stopped, not failed, the work goes on with one of our own.
    Otherwise the next attempt is submitted, and one more where it ended because we gave no sign of
    life for a while, up to three times. When this call is interrupted, the job is stopped;
    when its process is killed, the job soon ends by itself.

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
        return manifest | {"done_before": True}
    client, reaped = _client(address), 0
    while True:
        attempts = _attempts(client, work_id=spec.work_id)
        # It may have ended between the two looks.
        manifest = run.read_manifest()
        if manifest is not None:
            return manifest
        others = _running(attempts)
        with signs_of_life(run):
            submission = others or _submit(client, spec=spec, run=run, attempts=attempts)
            status = _followed(client, submission=submission, run=run, listener=listener)
        manifest = run.read_manifest()
        if status == "SUCCEEDED" and manifest is not None:
            return manifest
        error = run.read_error()
        # Another's job that was cancelled with its run, or ended as its follower had died just
        # before we came, says nothing about the work.
        if others and (status == "STOPPED" or error in (None, NOBODY)):
            continue
        if error == NOBODY and reaped < REAPED_TIMES:
            reaped += 1
            LOG.warning("job %s was not followed for a while, and goes on in another", submission)
            continue
        raise JobError(error or _why(client, submission=submission, status=status))


def _followed(client: Any, *, submission: str, run: Run, listener: Listener) -> str:
    """Ray's last word on a job; the job is stopped when the caller is."""
    try:
        return _follow(client, submission=submission, run=run, listener=listener)
    except BaseException:
        _stop(client, submission=submission)
        raise


def check_cluster(address: str) -> None:
    """Make sure a Ray cluster answers at an address.

    Raises:
        JobError: none does, or it refuses this user's token.
        InputError: the address holds a user or a password.
    """
    _client(given_address(address))


def _client(address: str) -> Any:
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    # It tells of every log stream it closes.
    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise JobError(
            f"the Ray cluster at {address} refuses the token; set RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH to the cluster's own"
        ) from error
    except (ConnectionError, RuntimeError) as error:
        raise JobError(
            f"no Ray cluster answers at {address} ({str(error).splitlines()[0]}); start it, or "
            "leave the Ray address out to use this machine"
        ) from error


def _attempts(client: Any, *, work_id: str) -> dict[str, str]:
    """Status by submission of every attempt at this work that the cluster has seen."""
    told = _asked(client.list_jobs, client=client)
    jobs = {str(job.submission_id): str(job.status.value) for job in told}
    return {name: status for name, status in jobs.items() if name.startswith(f"{work_id}-")}


def _running(attempts: dict[str, str]) -> str | None:
    """The submission that does this work now, or None."""
    return next((name for name, status in attempts.items() if status in ALIVE), None)


def _submit(client: Any, *, spec: JobSpec, run: Run, attempts: Iterable[str]) -> str:
    """Submit the next attempt; of several callers one gets the number, the others its job."""
    from requests import RequestException

    uri = run.write_spec(spec)
    failpoint("submit.spec_written")
    run.clear()
    number = 1 + max((int(name.rpartition("-")[2]) for name in attempts), default=0)
    submission = f"{spec.work_id}-{number}"
    failpoint("submit.before")
    deadline = time.monotonic() + SUBMIT_PATIENCE_SECONDS
    unanswered = time.monotonic() + ANSWER_PATIENCE_SECONDS
    command = f"{FOLLOWED}=1 {_interpreter()} -m {spec.module} {shlex.quote(uri)}"
    while True:
        try:
            client.submit_job(entrypoint=command, submission_id=submission)
            failpoint("submit.after")
            return submission
        except RequestException as error:
            # Asking once more is safe: it may have arrived, and then it "already exists".
            if time.monotonic() > unanswered:
                raise _gone(client, error=error) from error
        except RuntimeError as error:
            if "already exists" in str(error):
                return submission
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise JobError(f"Ray refused the job {submission}: {error}") from error
        time.sleep(1.0)


def _interpreter() -> str:
    """This interpreter where the job finds it, the image's own elsewhere.

    A job's `python` is the first on PATH, which need not be the virtual environment's. The shell
    that starts the job looks, because an address on loopback may be a forwarded port.
    """
    return f'"$(command -v {shlex.quote(sys.executable)} || echo python)"'


def _follow(client: Any, *, submission: str, run: Run, listener: Listener) -> str:
    """Wait for the end; returns Ray's last word on the job's status."""
    parts: list[Part] = []
    with LogTail(client, submission=submission, log=listener.log) as tail:
        while True:
            status = _status(client, submission=submission)
            latest = run.read_progress()
            if latest != parts:
                parts = latest
                listener.progress(parts)
            if status not in ALIVE:
                _asked(tail.finish, client=client)
                return status
            time.sleep(POLL_SECONDS)


def _status(client: Any, *, submission: str) -> str:
    return str(_asked(lambda: client.get_job_status(submission), client=client).value)


def _asked(question: Callable[[], Any], *, client: Any) -> Any:
    """Ray's answer; a dashboard that does not answer, or not well, is asked again for a while.

    Raises:
        JobError: the cluster is gone.
    """
    from requests import RequestException

    deadline = time.monotonic() + ANSWER_PATIENCE_SECONDS
    while True:
        try:
            return question()
        except (RequestException, RuntimeError) as error:
            if time.monotonic() > deadline:
                raise _gone(client, error=error) from error
            time.sleep(1.0)


def _gone(client: Any, *, error: Exception) -> JobError:
    why = str(error).partition("\n")[0]
    return JobError(
        f"the Ray cluster at {client.get_address()} does not answer any more ({why}); a job "
        "there may have ended with it; run again, what was committed is kept"
    )


def _stop(client: Any, *, submission: str) -> None:
    """Ask Ray to end the job and wait until it has; the lake keeps what was committed."""
    from requests import RequestException

    deadline = time.monotonic() + STOP_PATIENCE_SECONDS
    try:
        client.stop_job(submission)
        while client.get_job_status(submission).value in ALIVE and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    # The cluster is gone, and the job with it; the caller's own trouble is what is to be told.
    except (RequestException, RuntimeError) as error:
        LOG.warning("job %s could not be stopped: %s", submission, error)


def _why(client: Any, *, submission: str, status: str) -> str:
    info = _asked(lambda: client.get_job_info(submission), client=client)
    log = _asked(lambda: client.get_job_logs(submission), client=client)
    tail = "\n".join(log.splitlines()[-15:])
    return f"job {submission} ended as {status}: {info.message or 'no reason was given'}\n{tail}"

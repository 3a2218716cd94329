"""A job whose follower is gone ends by itself: whoever waits for a job gives signs of life.

A flow that is cancelled stops its job. One that is killed (SIGKILL, a lost machine) cannot, and
where Ray outlives it the job would go on for nobody, and hold its GPUs. So the follower rewrites a
small file of the run every few seconds, and the job ends when it has seen no change for a while. A
rerun within that while finds the job running and follows it.

Silence is measured by the job's own clock, in looks as well as in seconds: neither a wall clock
that jumps nor a machine that stands still for a minute is taken for it. A store that does not
answer tells nothing, so no job ends for that; one that takes no writes looks like silence, so
signs on S3 are few and short requests, and patience there is longer. A flow that is cancelled does
not wait for any of this.
"""

import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.jobs.run import Run

# Set in the command of a job whose submitter gives signs of life; one that is run by hand lacks it.
FOLLOWED = "SIGNALBOX_FOLLOWED"
FILE = "follower.json"
SIGN_SECONDS = 3.0
LOOK_SECONDS = 2.0
# Killed, a run is to leave no process after 30 s: 3 s for the last sign, a look and the end.
PATIENCE_SECONDS = 15.0
# A store in trouble may lose a sign, which takes 12 s of tries, and the next one too.
S3_PATIENCE_SECONDS = 60.0
PATIENCE_LOOKS = 5
# What Ray gives a job between being told to end and being killed.
END_SECONDS = 3.0
NOBODY = (
    "nobody follows this job any more, so it ends; what was committed is kept, run again to go on"
)
LOG = logging.getLogger("signalbox.follower")


@contextmanager
def signs_of_life(run: "Run") -> Iterator[None]:
    """Tell the run's job, for the length of a block, that somebody waits for it."""
    over = threading.Event()
    _sign(run)
    thread = threading.Thread(target=_keep_signing, args=(run, over), name="signs-of-life")
    thread.daemon = True
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _clear(run)


def _keep_signing(run: "Run", over: threading.Event) -> None:
    while not over.wait(SIGN_SECONDS):
        _sign(run)


def _sign(run: "Run") -> None:
    """Write something new; a store in trouble is tried again at the next turn."""
    try:
        run.storage.write_fleeting(run.uri(FILE), f'{{"sign": "{secrets.token_hex(8)}"}}'.encode())
    # Every store has errors of its own, and none of them is the end of the run.
    except Exception as error:  # noqa: BLE001
        LOG.warning("no sign of life could be written: %s", error)


def _clear(run: "Run") -> None:
    """Take the sign away; one that stays does not change, which is as good."""
    try:
        run.storage.delete(run.uri(FILE))
    except Exception as error:  # noqa: BLE001
        LOG.warning("the last sign of life could not be deleted: %s", error)


def end_without_follower(run: "Run") -> None:
    """Let this process, if it is a job whose submitter said so, end when nobody follows it."""
    if os.environ.get(FOLLOWED):
        thread = threading.Thread(target=_watch, args=(run,), name="end-without-follower")
        thread.daemon = True
        thread.start()


def _watch(run: "Run") -> None:
    patience = S3_PATIENCE_SECONDS if run.storage.is_s3 else PATIENCE_SECONDS
    silence = Silence()
    while not silence.is_longer_than(patience):
        time.sleep(LOOK_SECONDS)
        try:
            sign = run.storage.read_bytes_or_none(run.uri(FILE))
        except Exception as error:  # noqa: BLE001
            LOG.warning("signs of life could not be looked for: %s", error)
            silence = Silence()
            continue
        silence.look(sign, now=time.monotonic())
    LOG.error("%s", NOBODY)
    try:
        run.write_error(NOBODY)
    # On a full disk, say. The log has the word, and the job holds its GPUs no longer for that.
    except Exception as error:  # noqa: BLE001
        LOG.error("the reason is not in %s (%s)", run.uri("error.json"), error)
    finally:
        _end()


class Silence:
    """How long a sign of life has not changed; one that is not there does not change either."""

    def __init__(self) -> None:
        self.sign: bytes | None = None
        self.since: float | None = None
        self.looks = 0
        self.seconds = 0.0

    def look(self, sign: bytes | None, *, now: float) -> None:
        """Note what was seen at a time of a clock that never jumps."""
        if self.since is None or sign != self.sign:
            self.sign, self.since, self.looks = sign, now, 0
        self.looks += 1
        self.seconds = now - self.since

    def is_longer_than(self, seconds: float) -> bool:
        """Whether it lasts that long, and was looked at often enough to be sure."""
        return self.looks > PATIENCE_LOOKS and self.seconds >= seconds


def _end() -> None:
    """As Ray stops a job: everything in its process group is told, and killed a little later."""
    group = os.getpgid(0)
    os.killpg(group, signal.SIGTERM)
    time.sleep(END_SECONDS)
    os.killpg(group, signal.SIGKILL)

"""What the sandbox counts on the machine before it sets a limit that a user's processes share."""

import os
import threading
from pathlib import Path

from cluster.rewards.sandbox.guest.confine import threads_of

NOBODY_S_USER = 60_999


def test_a_user_s_threads_are_counted_and_nobody_else_s() -> None:
    stop = threading.Event()
    mine = [threading.Thread(target=stop.wait) for _ in range(7)]
    before = len(list(Path("/proc/self/task").iterdir()))
    for thread in mine:
        thread.start()
    try:
        assert threads_of(os.getuid()) >= before + 7
        assert threads_of(NOBODY_S_USER) == 0
    finally:
        stop.set()
        for thread in mine:
            thread.join()

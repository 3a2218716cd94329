"""Places where a test may let a process die, to prove that nothing is lost there.

`SIGNALBOX_FAILPOINT=name` ends the process at the first pass, `name:3` at the third, as SIGKILL
would: no handler runs, nothing is flushed. Unset, a failpoint costs one dictionary lookup.
"""

import os
import signal
from collections import Counter

VARIABLE = "SIGNALBOX_FAILPOINT"
_passes: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Die here if the environment names this place and its turn has come."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    place, _, turn = wanted.partition(":")
    if place != name:
        return
    _passes[name] += 1
    if _passes[name] >= int(turn or 1):
        os.kill(os.getpid(), signal.SIGKILL)

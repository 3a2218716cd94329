"""Places where a test may let a process die, to prove that nothing is lost there.

`SIGNALBOX_FAILPOINT=name` ends the process at the first pass, `name:3` at the third, as SIGKILL
would: no handler runs, nothing is flushed. `SIGNALBOX_FAILPOINT_FILE` names a file that may hold
the same words, for processes whose environment is settled before the test begins (Ray's workers);
whoever dies takes the file along (to `<file>.fired`), so that its successor lives. With both
unset, a failpoint costs two dictionary lookups.
"""

import os
import signal
from collections import Counter
from pathlib import Path

VARIABLE = "SIGNALBOX_FAILPOINT"
FILE_VARIABLE = "SIGNALBOX_FAILPOINT_FILE"
FIRED = ".fired"
_passes: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Die here if the environment names this place and its turn has come."""
    wanted, file = os.environ.get(VARIABLE, ""), os.environ.get(FILE_VARIABLE, "")
    if not wanted and not file:
        return
    _passes[name] += 1
    if _turn_has_come(wanted, name=name) or (file and _taken(Path(file), name=name)):
        os.kill(os.getpid(), signal.SIGKILL)


def _turn_has_come(wanted: str, *, name: str) -> bool:
    place, _, turn = wanted.strip().partition(":")
    return place == name and _passes[name] >= int(turn or 1)


def _taken(file: Path, *, name: str) -> bool:
    """Whether the file names this place and this process was the one to move it away."""
    try:
        if not _turn_has_come(file.read_text(), name=name):
            return False
        file.rename(f"{file}{FIRED}")
    except FileNotFoundError:
        return False
    return True

"""Places where a test may let a process die, to prove that nothing is lost there.

`SIGNALBOX_FAILPOINT=name` ends the process at the first pass, `name:3` at the third, as SIGKILL
would: no handler runs, nothing is flushed. `SIGNALBOX_FAILPOINT_FILE` names a file that may hold
the same words, for processes whose environment is settled before the test begins (Ray's workers);
whoever dies takes the file along (to `<file>.fired`), so that its successor lives.
`SIGNALBOX_FAILPOINT_TRACE` names a file to which every pass adds a line `pid name`. With all
unset, a failpoint costs three dictionary lookups.

Around the write of an object the name ends in the object's kind, `write.before/router.json`: the
last part of its address with every hash and number as `*`.
"""

import os
import re
import signal
from collections import Counter
from pathlib import Path

VARIABLE = "SIGNALBOX_FAILPOINT"
FILE_VARIABLE = "SIGNALBOX_FAILPOINT_FILE"
TRACE_VARIABLE = "SIGNALBOX_FAILPOINT_TRACE"
FIRED = ".fired"
HASH_OR_NUMBER = re.compile(r"[0-9a-f]{8,}|[0-9]+")
_passes: Counter[str] = Counter()


def failpoint(name: str, *, of: str = "") -> None:
    """Die here if the environment names this place and its turn has come.

    `of` is the address of the object that is written, if one is.
    """
    wanted, file = os.environ.get(VARIABLE, ""), os.environ.get(FILE_VARIABLE, "")
    trace = os.environ.get(TRACE_VARIABLE, "")
    if not wanted and not file and not trace:
        return
    if of:
        name = f"{name}/{HASH_OR_NUMBER.sub('*', of.rstrip('/').rpartition('/')[2])}"
    _passes[name] += 1
    if trace:
        _note(name, file=trace)
    if _turn_has_come(wanted, name=name) or (file and _taken(Path(file), name=name)):
        os.kill(os.getpid(), signal.SIGKILL)


def _note(name: str, *, file: str) -> None:
    """One write to the end: lines of several processes never mix."""
    trace = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(trace, f"{os.getpid()} {name}\n".encode())
    os.close(trace)


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

"""What keeps a run from the machine, and whether this machine offers it."""

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any, Literal

Isolation = Literal["namespaces", "limits"]
"""What a run is kept from the machine by.

`namespaces`: user, mount, process, network, IPC and host-name namespaces of its own; a read-only
root that holds the interpreter's library alone, a folder in memory, no /proc; no capability; a
filter on system calls; the limits. `limits`: the filter and the limits alone; it has the files its
user has (where we are root, one without an account), and sees the machine's processes.
"""
# Users without an account: above those of Debian (to 59,999) and within the 65,536 a container
# may have. Each warden has its own, so that the kernel counts processes for each alone.
FIRST_USER, USERS = 61_184, 4_336
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
NOT_OURS = ("site-packages", "dist-packages", "test", "idlelib", "ensurepip")


def place(isolation: Isolation, *, process: int, folder: str) -> dict[str, Any]:
    """What a warden is told of where its runs are; JSON values.

    Args:
        isolation: what it is to do.
        process: the warden's id.
        folder: the working folder, where runs have none of their own.
    """
    root = os.geteuid() == 0
    if isolation == "limits":
        user = _user(process) if root else 0
        return _place("limits", user=user, groups=root, shares=not root, folder=folder)
    told = _place("namespaces", user=1 if root else 0, groups=root, shares=False, folder="")
    return {**told, "folders": _folders(), "hidden": _hidden()}


def _place(kind: str, *, user: int, groups: bool, shares: bool, folder: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "user": user,
        "groups": groups,
        "shares_user": shares,
        "folder": folder,
    }


def map_users(process: int) -> None:
    """Who the users of a warden's namespace are: us as its root, for the namespace alone, and
    where we are root a user without an account for what it runs."""
    folder = Path(f"/proc/{process}")
    root = os.geteuid() == 0
    if not root:
        (folder / "setgroups").write_text("deny", encoding="ascii")
    more = f"\n1 {_user(process)} 1" if root else ""
    (folder / "uid_map").write_text(f"0 {os.geteuid()} 1{more}", encoding="ascii")
    (folder / "gid_map").write_text(f"0 {os.getegid()} 1{more}", encoding="ascii")


def _user(process: int) -> int:
    return FIRST_USER + process % USERS


def _folders() -> list[str]:
    """What Python needs to import its own library."""
    # In a virtual environment "platstdlib" is the environment's, unless it is told better.
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    own = [sysconfig.get_path(kind, vars=base) for kind in ("stdlib", "platstdlib")]
    found = (str(Path(path).resolve()) for path in [*own, f"{sys.base_prefix}/lib"])
    return list(dict.fromkeys([*LIBRARIES, *found]))


def _hidden() -> list[str]:
    """What lies among it and is nobody's business: installed packages."""
    library = Path(sysconfig.get_path("stdlib")).resolve()
    places = [str(library / name) for name in NOT_OURS]
    return [*places, "/usr/lib/python3/dist-packages"]

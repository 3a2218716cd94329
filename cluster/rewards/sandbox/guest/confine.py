"""What a process gives up before it runs a program nobody knows."""

import os
import resource

from cluster.rewards.sandbox.guest import kernel, seccomp
from cluster.rewards.sandbox.limits import Limits

MEGABYTE = 2**20
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
WORK = "/tmp"
# Mounting on it hides nothing that is needed, wherever the interpreter lies.
COVERED = "/proc"
HOST = "/host"


def build_root(*, folders: list[str], hidden: list[str]) -> None:
    """A root with these folders alone, read-only, and a few devices; no /proc, no /sys.

    Needs a user namespace of its own, or root. `hidden` are folders below that look empty.
    """
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", COVERED, kind="tmpfs", options="size=1m,mode=755")
    os.mkdir(COVERED + HOST)
    kernel.pivot_root(COVERED, COVERED + HOST)
    os.chdir("/")
    for path in folders:
        _show(path)
    for path in hidden:
        if os.path.isdir(path):
            kernel.mount("tmpfs", path, kind="tmpfs", options="size=4k,mode=755")
    os.mkdir(WORK)
    for device in DEVICES:
        _show(device)
    kernel.unmount(HOST)
    os.rmdir(HOST)
    kernel.make_read_only("/")


def _show(path: str) -> None:
    """Make a folder, device or link of the old root visible in the new."""
    source = HOST + path
    if not os.path.lexists(source) or os.path.lexists(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(source):
        os.symlink(os.readlink(source), path)
        return
    if os.path.isdir(source):
        os.mkdir(path)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    kernel.mount(source, path, flags=kernel.MS_BIND | kernel.MS_REC)


def own_folder(limits: Limits) -> None:
    """A new empty folder in memory, the only one that can be written; it is the current one."""
    options = f"size={limits.disk_mb}m,nr_inodes=4096,mode=777"
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", WORK, kind="tmpfs", flags=flags, options=options)
    os.chdir(WORK)


def become(user: int, *, groups: bool) -> None:
    """Another user, in no other group."""
    if groups:
        os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def threads_of(user: int) -> int:
    """Threads that a user has on the machine: the kernel counts all of them together."""
    found = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}").st_uid == user:
                found += len(os.listdir(f"/proc/{name}/task"))
        except OSError:  # it has ended meanwhile
            continue
    return found


def limit(limits: Limits, *, others: int = 0) -> None:
    """The kernel's limits of a process; its children have the same.

    `others`: threads of the same user that are none of the run's.
    """
    seconds = int(limits.seconds) + 1
    values = {
        resource.RLIMIT_AS: limits.memory_mb * MEGABYTE,
        resource.RLIMIT_FSIZE: limits.disk_mb * MEGABYTE,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NPROC: limits.processes + others,
    }
    for kind, value in values.items():
        resource.setrlimit(kind, (value, value))


def give_up_rights(*, alone: bool) -> None:
    """No capability, no way to get one, and a filter on system calls; for good.

    Where it is not `alone` in a process namespace, it may send no signal either.
    """
    kernel.die_with_parent()
    kernel.drop_capabilities()
    kernel.set_no_new_privileges()
    kernel.load_filter(seccomp.program(signals=alone))

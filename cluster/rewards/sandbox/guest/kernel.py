"""System calls Python has no names for."""

import ctypes
import os
import signal
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 0x2

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2

AT_FDCWD = -100
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63

# The same numbers on both architectures the filter knows; those of x86_64 and aarch64 differ.
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CAPSET = {"x86_64": 126, "aarch64": 91}
MOUNT_SETATTR = 442

LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, *, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Namespaces of its own for this process, or for its children (processes)."""
    _checked(LIBC.unshare(flags), call="unshare")


def mount(source: str, target: str, *, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount `source` on `target`."""
    _checked(
        LIBC.mount(
            source.encode(),
            target.encode(),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            options.encode() or None,
        ),
        call=f"mount {target}",
    )


def unmount(target: str) -> None:
    """Take a mount away, at once from sight and for good when nothing uses it."""
    _checked(LIBC.umount2(target.encode(), MNT_DETACH), call=f"umount {target}")


def make_read_only(target: str) -> None:
    """A mount and those below: read-only, no set-user-id programs (Linux 5.12)."""
    attributes = struct.pack("QQQQ", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, 0)
    _syscall(
        MOUNT_SETATTR, AT_FDCWD, target.encode(), AT_RECURSIVE, attributes, len(attributes),
        call=f"mount_setattr {target}",
    )  # fmt: skip


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root; the old one is at `old`, below it."""
    _syscall(PIVOT_ROOT[os.uname().machine], new.encode(), old.encode(), call="pivot_root")


def drop_capabilities() -> None:
    """All of them, and with them every way to get one back."""
    for capability in range(LAST_CAPABILITY + 1):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # Fails where the kernel knows no such.
    LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    _syscall(CAPSET[os.uname().machine], header, bytes(24), call="capset")


def set_no_new_privileges() -> None:
    """No program it starts gets more than it has itself."""
    _checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), call="prctl no_new_privs")


def die_with_parent() -> None:
    """Be killed when the parent is; lost again by a change of user, so it comes behind that."""
    _checked(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), call="prctl death signal")


def adopt_orphans() -> None:
    """Descendants whose parent has died become children of this process."""
    _checked(LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), call="prctl subreaper")


def load_filter(program: bytes) -> None:
    """A seccomp filter for this process and all it starts."""
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    result = LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0)
    _checked(result, call="prctl seccomp")


def close_from(first: int) -> None:
    """Close every file descriptor from this one on."""
    os.closerange(first, 65_536)


def _syscall(number: int, *arguments: int | bytes, call: str) -> None:
    _checked(LIBC.syscall(ctypes.c_long(number), *arguments), call=call)

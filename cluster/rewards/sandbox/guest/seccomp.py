"""Which system calls a program in the sandbox is refused.

Namespaces already keep it from the machine; the filter takes away what could widen a hole in the
kernel, what makes memory that no limit counts, and what starts other programs or opens sockets.
"""

import os
import struct

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Machines for which the filter is known, with the numbers by which the kernel tells them."""

# Name: numbers on x86_64 and aarch64; None where it does not exist.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # other programs, sockets
    "execve": (59, 221), "execveat": (322, 281), "socket": (41, 198),
    # other processes' memory and descriptors
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    # namespaces, mounts, roots
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    # memory that neither the address space nor the folder's size counts
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    # large surfaces of the kernel
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "fanotify_init": (300, 262), "personality": (135, 92), "modify_ldt": (154, None),
    # the machine itself
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116),
    "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "quotactl": (179, 60), "iopl": (172, None), "ioperm": (173, None), "vhangup": (153, 58),
    "lookup_dcookie": (212, 18), "nfsservctl": (180, 42),
}  # fmt: skip
SIGNALS: dict[str, tuple[int | None, int | None]] = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
}  # fmt: skip
"""Refused where a signal could reach processes that are not the program's own."""
CLONE = (56, 220)
CLONE3 = (435, 435)
NAMESPACES = 0x7E020080  # CLONE_NEW… of all kinds
X32 = 0x40000000

EPERM, ENOSYS = 1, 38
ALLOW = 0x7FFF0000
KILL = 0x80000000
ERRNO = 0x00050000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENT = 0, 4, 16
ORDER = ("x86_64", "aarch64")


def known() -> bool:
    """Whether there is a filter for this machine."""
    return os.uname().machine in ARCHITECTURES


def program(*, signals: bool) -> bytes:
    """The filter for this machine, in the kernel's encoding (struct sock_filter).

    Args:
        signals: whether it may send some.
    """
    machine = os.uname().machine
    column = ORDER.index(machine)
    names = REFUSED if signals else REFUSED | SIGNALS
    refused = [numbers[column] for numbers in names.values()]
    lines = [
        _line(LOAD, value=ARCHITECTURE),
        _line(EQUAL, value=ARCHITECTURES[machine], if_true=1),
        _line(RETURN, value=KILL),
        _line(LOAD, value=NUMBER),
        *_answer(AT_LEAST, value=X32, answer=ERRNO | ENOSYS),
        *_answer(EQUAL, value=CLONE3[column], answer=ERRNO | ENOSYS),
    ]
    for number in sorted(number for number in refused if number is not None):
        lines += _answer(EQUAL, value=number, answer=ERRNO | EPERM)
    # clone: only without namespaces. libc takes it where clone3 is said not to exist.
    lines += [
        _line(EQUAL, value=CLONE[column], if_false=3),
        _line(LOAD, value=ARGUMENT),
        *_answer(ANY_BIT, value=NAMESPACES, answer=ERRNO | EPERM),
        _line(RETURN, value=ALLOW),
    ]
    return b"".join(lines)


def _answer(test: int, *, value: int, answer: int) -> list[bytes]:
    """Return `answer` if the test of what is loaded holds."""
    return [_line(test, value=value, if_false=1), _line(RETURN, value=answer)]


def _line(code: int, *, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)

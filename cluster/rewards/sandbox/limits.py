"""What one run of a program may take."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Limits of one run.

    Attributes:
        seconds: wall clock, from the start of its process.
        memory_mb: address space of each process, and resident memory of all together.
        disk_mb: all files of its folder together, which is also the longest of them.
        processes: processes and threads at a time.
        open_files: file descriptors of a process.
        output_kb: what it may print; more ends it.
    """

    seconds: float = 10.0
    memory_mb: int = 512
    disk_mb: int = 32
    processes: int = 16
    open_files: int = 64
    output_kb: int = 1024

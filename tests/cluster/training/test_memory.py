import os
import platform
import resource
import subprocess
import sys

import pytest

from cluster.training.memory import ENVIRONMENT

BLOCK, STEPS = 64 * 2**20, 32
PAGES = BLOCK // resource.getpagesize()
# Prints the pages that the kernel had to hand out in some steps that use one block each, and how
# much of the process is in memory in the end.
COUNT = f"""
import contextlib, resource, threading, torch
from pathlib import Path
from cluster.training.memory import freed_memory_kept

torch.set_num_threads(1)

def steps():
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range({STEPS}):
        torch.empty({BLOCK} // 4).fill_(1.0)
    print(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(pages * resource.getpagesize())

"""
HERE = "steps()\nresident()"
KEPT = "with freed_memory_kept():\n    steps()\n    resident()\nresident()"
THREAD = "thread = threading.Thread(target=steps)\nthread.start()\nthread.join()"

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc gives freed blocks back at once"
)


def printed(code, environment=None, *, code_before=COUNT):
    """What a process of its own says."""
    command = [sys.executable, "-c", code_before + code]
    found = subprocess.check_output(command, env=os.environ | (environment or {}))
    return [int(line) for line in found.split()]


def test_a_block_is_handed_out_once_and_given_back_at_the_end():
    before, usual = printed(HERE)
    faults, meanwhile, after = printed(KEPT)
    assert faults < STEPS * PAGES / 2
    assert before > (STEPS - 1) * PAGES
    assert meanwhile > usual + BLOCK // 2
    assert after < meanwhile - BLOCK // 2


def test_what_comes_after_a_training_is_no_slower():
    small = "BLOCK = 2_400_000\n" + COUNT.replace(str(BLOCK), "BLOCK")
    before, *_ = printed(HERE, code_before=small)
    after = printed(KEPT + "\nsteps()", code_before=small)[-1]
    assert after < before + 2 * 2_400_000 // resource.getpagesize()


def test_a_thread_of_a_process_that_is_started_so_keeps_it_too():
    assert printed(THREAD, ENVIRONMENT)[0] < STEPS * PAGES / 2
    assert printed(THREAD)[0] > (STEPS - 1) * PAGES

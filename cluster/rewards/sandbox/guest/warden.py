"""The warden: starts a process for each run, out of one interpreter that has loaded all it needs.

It is told by messages on a socket: what a run is (`role`), its limits, and the run's file
descriptors. It never sees a program, a test or a verdict, so nothing of them is in the memory
that the runs inherit.
"""

import array
import gc
import json
import os
import signal
import site
import socket
import sys
from typing import Any, NoReturn

from cluster.rewards.sandbox.guest import confine, kernel, roles
from cluster.rewards.sandbox.guest.overseer import oversee
from cluster.rewards.sandbox.limits import Limits

# Loaded once, so that no run pays for them; what programs import most.
USUAL: tuple[str, ...] = ("bisect", "collections", "copy", "dataclasses", "datetime", "decimal")
USUAL += ("fractions", "functools", "heapq", "itertools", "math", "operator", "random", "re")
USUAL += ("string", "typing")
MOST_DESCRIPTORS = 8


def main(descriptor: int) -> None:
    """Serve until the other end of the socket is closed."""
    control = socket.socket(fileno=descriptor)
    place: dict[str, Any] = json.loads(control.recv(65_536))
    for module in USUAL:
        __import__(module)
    site.setquit()
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    if place["kind"] == "namespaces":
        _enter(place, control=control)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Overseers are never waited for.
    gc.freeze()
    control.send(b"ready")
    while True:
        message, descriptors = _receive(control)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _run(json.loads(message), place=place, descriptors=descriptors, proc=proc)
        for number in descriptors:
            os.close(number)


def _enter(place: dict[str, Any], *, control: socket.socket) -> None:
    """Namespaces for all runs; each gets more of its own. Who started us maps the users."""
    kernel.unshare(kernel.CLONE_NEWUSER)
    control.send(b"map")
    control.recv(16)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    confine.build_root(folders=place["folders"], hidden=place["hidden"])


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """A message and its file descriptors."""
    numbers = array.array("i")
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * numbers.itemsize)
    message, ancillary, _, _ = control.recvmsg(65_536, room)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return message, list(numbers)


def _run(
    message: dict[str, Any], *, place: dict[str, Any], descriptors: list[int], proc: int
) -> NoReturn:
    """Be the overseer of one run: its process is a child in namespaces of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    limits = Limits(**message["limits"])
    status, *given = descriptors
    if place["kind"] == "namespaces":
        kernel.unshare(
            kernel.CLONE_NEWPID | kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC
            | kernel.CLONE_NEWNET | kernel.CLONE_NEWUTS
        )  # fmt: skip
    else:
        kernel.adopt_orphans()
    child = os.fork()
    if child == 0:
        _become_guest(message["role"], place=place, limits=limits, given=given)
    for number in given:
        os.close(number)
    oversee(child, limits=limits, status=status, proc=proc)
    os._exit(0)


def _become_guest(
    role: str, *, place: dict[str, Any], limits: Limits, given: list[int]
) -> NoReturn:
    """Arrange descriptors (0, 1, 2, then the role's own from 3), give up all rights, and work."""
    try:
        _arrange(given)
        os.environ.clear()
        if place["kind"] == "namespaces":
            confine.own_folder(limits)
        else:
            os.chdir(place["folder"])
            os.setsid()
        if place["user"]:
            confine.become(place["user"], groups=place["groups"])
        others = confine.threads_of(os.getuid()) if place["shares_user"] else 0
        confine.limit(limits, others=others)
        confine.give_up_rights(alone=place["kind"] == "namespaces")
    except BaseException as error:
        os.write(2, f"the sandbox failed: {error}".encode())
        os._exit(roles.NOT_CONFINED)
    sys.dont_write_bytecode = True
    roles.work(role)


def _arrange(given: list[int]) -> None:
    """Descriptors 0, 1, 2, … are those given, and there are no others."""
    high = [os.dup(number) for number in given]
    while min(high) < len(given):
        high = [os.dup(number) for number in high]
    for index, number in enumerate(high):
        os.dup2(number, index)
    kernel.close_from(len(given))

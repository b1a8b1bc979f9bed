"""Confine this process before it parses what a stranger wrote: Landlock for files, seccomp for calls, another user.

Everything here only takes away, for this process and all that it starts, and cannot be undone. What the kernel does not
have is reported, not hidden: `airbundle doctor` and the watcher say which of the three hold.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airbundle.errors import MediumError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_NO_NEW_PRIVS, _SECCOMP = 38, 22
_SECCOMP_FILTER: Final = 2

# Landlock (linux/landlock.h): calls and rights, each with the version of the interface that brought it.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_FILE_RIGHTS: Final = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}
_ALL: Final = max(_FILE_RIGHTS.values())
_REACHING_OUT: Final = {4: 3}  # TCP bind and connect
_PLAIN_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom")
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | 0x4000 | 0x8000  # those that fit a single file

_ARCHES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32: Final = 0x40000000
_SOCKET: Final = {"x86_64": 41, "aarch64": 198}
# mount, umount2, pivot_root, ptrace, process_vm_writev, init_module, finit_module, kexec_load, bpf, perf_event_open,
# setns, unshare, keyctl, reboot, swapon, open_by_handle_at, io_uring_setup, userfaultfd
_DENIED: Final = {
    "x86_64": (165, 166, 155, 101, 311, 175, 313, 246, 321, 298, 308, 272, 250, 169, 167, 304, 425, 323),
    "aarch64": (40, 39, 41, 117, 271, 105, 273, 104, 280, 241, 268, 97, 219, 142, 224, 265, 425, 282)}
_LOAD, _EQUAL, _AT_LEAST, _ANSWER = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
_AF_UNIX: Final = 1


@dataclass(frozen=True, slots=True)
class Confinement:
    """What holds: the version of Landlock (0: not there), whether calls are filtered, and the user id now."""

    landlock: int
    seccomp: bool
    user: int

    @property
    def holds(self) -> bool:
        """Whether files and calls are both confined."""
        return self.landlock > 0 and self.seccomp


def landlock_version() -> int:
    """The version of the kernel's Landlock; 0 where it has none."""
    found = int(_LIBC.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION))
    return max(found, 0)


def seccomp_known() -> bool:
    """Whether the numbers of this machine's calls are known here."""
    return platform.machine() in _ARCHES


def confine(*, readable: Iterable[str], writable: Iterable[str], runnable: Iterable[str] = ()) -> Confinement:
    """Confine this process for good: it reads below `readable`, writes below `writable`, and reaches no network.

    It starts only what lies below `runnable`. Paths that do not exist are left out. Raises MediumError if a step that
    the kernel offers fails.
    """
    if _LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _failed("no_new_privs")
    version = landlock_version()
    if version:
        _restrict_files(version, (
            (readable, _READ_FILE | _READ_DIR), (runnable, _EXECUTE | _READ_FILE | _READ_DIR),
            ((*writable, *_PLAIN_DEVICES), _ALL & ~_EXECUTE)))
    return Confinement(version, _filter_calls(), os.geteuid())


def become(user: int, group: int, groups: Sequence[int] = ()) -> None:
    """Be another user for good. Raises MediumError."""
    try:
        os.setgroups(groups)
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    except OSError as error:
        raise MediumError(f"cannot become user {user}: {error.strerror}") from error


def _restrict_files(version: int, rules: Iterable[tuple[Iterable[str], int]]) -> None:
    rights = max(value for since, value in _FILE_RIGHTS.items() if since <= version)
    network = max((value for since, value in _REACHING_OUT.items() if since <= version), default=0)
    attributes = struct.pack("QQ", rights, network) if network else struct.pack("Q", rights)
    ruleset = int(_LIBC.syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    if ruleset < 0:
        raise _failed("landlock_create_ruleset")
    try:
        for paths, allowed in rules:
            for path in paths:
                _allow(ruleset, path, allowed & rights)
        if _LIBC.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
            raise _failed("landlock_restrict_self")
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        wanted = rights if os.path.isdir(path) else rights & _OF_FILES
        rule = struct.pack("=Qi", wanted, descriptor)
        if _LIBC.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0) != 0:
            raise _failed(f"landlock_add_rule for {path}")
    finally:
        os.close(descriptor)


def _filter_calls() -> bool:
    """Whether the filter holds now; there is none for machines whose call numbers are not listed here."""
    machine = platform.machine()
    if machine not in _ARCHES:
        return False
    code = _program(machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    if _LIBC.prctl(_SECCOMP, _SECCOMP_FILTER, program, 0, 0) != 0:
        raise _failed("seccomp")
    return True


def _program(machine: str) -> bytes:
    """Classic BPF over `struct seccomp_data`: number at 0, machine at 4, first argument at 16.

    A call of another machine kills; the calls of `_DENIED` and every socket but AF_UNIX give EPERM.
    """
    denied = _DENIED[machine]
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCHES[machine]), (_ANSWER, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32), (_ANSWER, 0, 0, _KILL)]
    for number in denied:
        steps += [(_EQUAL, 0, 1, number), (_ANSWER, 0, 0, _REFUSE)]
    steps += [(_EQUAL, 0, 3, _SOCKET[machine]), (_LOAD, 0, 0, 16), (_EQUAL, 1, 0, _AF_UNIX), (_ANSWER, 0, 0, _REFUSE),
              (_ANSWER, 0, 0, _ALLOW)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _failed(what: str) -> MediumError:
    return MediumError(f"{what}: {os.strerror(ctypes.get_errno())}", hint="the kernel refuses to confine this process")

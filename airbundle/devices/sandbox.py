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
_OWN_PROCESSES: Final = 0x20000000  # CLONE_NEWPID

# Landlock (linux/landlock.h): calls and rights, each with the version of the interface that brought it.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_FILE_RIGHTS: Final = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}
_ALL: Final = max(_FILE_RIGHTS.values())
_REACHING_OUT: Final = {4: 3}  # TCP bind and connect
_SCOPES_SINCE, _SCOPED = 6, 3  # abstract sockets and signals stay among processes that are confined with this one
_PLAIN_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom")
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | 0x4000 | 0x8000  # those that fit a single file

# Calls by machine. Names as in the manual, section 2.
_ARCHES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32: Final = 0x40000000
_SOCKET: Final = {"x86_64": 41, "aarch64": 198}
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_CLONE3: Final = 435
# mount, umount2, pivot_root, ptrace, process_vm_writev, init_module, finit_module, kexec_load, bpf, perf_event_open,
# setns, unshare, keyctl, reboot, swapon, open_by_handle_at, io_uring_setup, userfaultfd, memfd_create, add_key,
# request_key
_DENIED: Final = {
    "x86_64": (165, 166, 155, 101, 311, 175, 313, 246, 321, 298, 308, 272, 250, 169, 167, 304, 425, 323, 319, 248,
               249),
    "aarch64": (40, 39, 41, 117, 271, 105, 273, 104, 280, 241, 268, 97, 219, 142, 224, 265, 425, 282, 279, 217, 218)}
# execve, execveat, and fork and vfork where there are any
_STARTING: Final = {"x86_64": (59, 322, 57, 58), "aarch64": (221, 281)}
# What Landlock does not cover: chmod, fchmod, fchmodat, fchmodat2, chown, fchown, lchown, fchownat, utime, utimes,
# futimesat, utimensat, setxattr and removexattr with l, f and at
_MODES: Final = {
    "x86_64": (90, 91, 268, 452, 92, 93, 94, 260, 132, 235, 261, 280, 188, 189, 190, 197, 198, 199, 463, 466),
    "aarch64": (52, 53, 452, 54, 55, 88, 5, 6, 7, 14, 15, 16, 463, 466)}
_NEW_NAMESPACES, _THREAD = 0x7E020080, 0x00010000  # of the flags of clone
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _NOT_THERE, _KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
_AF_UNIX: Final = 1


@dataclass(frozen=True, slots=True)
class Confinement:
    """What holds: the version of Landlock (0: not there), whether calls are filtered, and the user id now."""

    landlock: int
    seccomp: bool
    user: int


def landlock_version() -> int:
    """The version of the kernel's Landlock; 0 where it has none."""
    found = int(_LIBC.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION))
    return max(found, 0)


def seccomp_known() -> bool:
    """Whether the numbers of this machine's calls are known here."""
    return platform.machine() in _ARCHES


def confine(*, readable: Iterable[str], writable: Iterable[str], runnable: Iterable[str] = (),
            sockets: bool = False) -> Confinement:
    """Confine this process for good: it reads below `readable`, writes below `writable`, and reaches no network.

    It starts only what lies below `runnable`, and no process at all if that is nothing; it opens sockets of this
    machine only with `sockets`, and changes modes, owners and times only if something is `writable`. Paths that do not
    exist are left out. Raises MediumError if a step that the kernel offers fails.
    """
    writable, runnable = tuple(writable), tuple(runnable)
    if _LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _failed("no_new_privs")
    version = landlock_version()
    if version:
        _restrict_files(version, (
            (readable, _READ_FILE | _READ_DIR), (runnable, _EXECUTE | _READ_FILE | _READ_DIR),
            ((*writable, *_PLAIN_DEVICES), _ALL & ~_EXECUTE)))
    machine = platform.machine()
    filtered = machine in _ARCHES
    if filtered:
        _filter_calls(_program(machine, starts=bool(runnable), sockets=sockets, modes=bool(writable)))
    return Confinement(version, filtered, os.geteuid())


def begin_own_processes() -> int:
    """The next process that this one forks ends together with all that it starts; gives what `end_own_processes` takes.

    Where that needs privileges that are not there, -1.
    """
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    if _LIBC.unshare(_OWN_PROCESSES) != 0:
        os.close(own)
        return -1
    return own


def end_own_processes(own: int) -> None:
    """What is forked from now on is an ordinary process again."""
    if own >= 0:
        failed = _LIBC.setns(own, _OWN_PROCESSES) != 0
        os.close(own)
        if failed:
            raise _failed("setns")


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
    attributes = struct.pack("Q", rights)
    if network:
        attributes += struct.pack("Q", network)
    if version >= _SCOPES_SINCE:
        attributes += struct.pack("Q", _SCOPED)
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


def _filter_calls(code: bytes) -> None:
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    if _LIBC.prctl(_SECCOMP, _SECCOMP_FILTER, program, 0, 0) != 0:
        raise _failed("seccomp")


def _program(machine: str, *, starts: bool, sockets: bool, modes: bool) -> bytes:
    """Classic BPF over `struct seccomp_data`: number at 0, machine at 4, first argument at 16.

    A call of another machine kills; what is denied gives EPERM. Clone makes threads, and processes only if this
    `starts` any, never with a namespace of its own; clone3, whose flags lie in memory, is not there, so that everybody
    takes clone.
    """
    denied = (*_DENIED[machine], *(() if starts else _STARTING[machine]), *(() if modes else _MODES[machine]),
              *(() if sockets else (_SOCKET[machine],)))
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCHES[machine]), (_ANSWER, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32), (_ANSWER, 0, 0, _KILL)]
    steps += [(_EQUAL, 0, 1, _CLONE3), (_ANSWER, 0, 0, _NOT_THERE)]
    for number in denied:
        steps += [(_EQUAL, 0, 1, number), (_ANSWER, 0, 0, _REFUSE)]
    clone = [(_LOAD, 0, 0, 16), (_ANY_BIT, 0, 1, _NEW_NAMESPACES), (_ANSWER, 0, 0, _REFUSE)]
    if not starts:
        clone += [(_ANY_BIT, 1, 0, _THREAD), (_ANSWER, 0, 0, _REFUSE)]
    clone += [(_ANSWER, 0, 0, _ALLOW)]
    steps += [(_EQUAL, 0, len(clone), _CLONE[machine]), *clone]
    steps += [(_EQUAL, 0, 3, _SOCKET[machine]), (_LOAD, 0, 0, 16), (_EQUAL, 1, 0, _AF_UNIX), (_ANSWER, 0, 0, _REFUSE),
              (_ANSWER, 0, 0, _ALLOW)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _failed(what: str) -> MediumError:
    return MediumError(f"{what}: {os.strerror(ctypes.get_errno())}", hint="the kernel refuses to confine this process")

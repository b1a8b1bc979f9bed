"""What a policy says of content: which formats, which pickles, which limits, which scanners.

The values are a part of the policy file. They check themselves when they are made, so that a policy that names a
scanner without an exit code for clean, or allows `os.system`, is refused before anything is imported.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from airbundle.errors import UsageError

MIB: Final = 1 << 20
FORMATS: Final = ("safetensors", "gguf", "json", "text", "code")
DEFAULT_FORMATS: Final = ("safetensors", "gguf", "json", "text")

# The first part of a name that no policy can allow: with one of them a pickle does what it likes.
_NEVER: Final = frozenset({
    "os", "posix", "nt", "sys", "subprocess", "builtins", "__builtin__", "runpy", "shutil", "importlib", "pickle",
    "_pickle", "marshal", "types", "functools", "operator", "_operator", "ctypes", "socket", "pty", "code", "codeop",
    "commands", "webbrowser", "timeit", "cProfile", "profile", "pdb", "bdb", "trace", "multiprocessing", "threading",
    "asyncio", "platform", "pip", "pydoc", "doctest", "imp", "pkgutil", "zipimport", "inspect", "gc", "atexit",
    "signal", "tempfile", "io", "_io", "copyreg", "copy_reg", "site", "sysconfig", "venv", "ensurepip", "urllib",
    "requests", "http", "aiohttp", "dill", "cloudpickle", "joblib", "__main__",
})


class Scanner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True,
              rename="kebab"):
    """A program that examines the staged folder, and what its exit codes mean. Any other code is an error.

    `command` has `{folder}`, or `{path}` for one file, as an argument or in one. `skipped_line` is a line of its
    output by which it says that it looked at nothing, where its exit code does not tell. `environment` is added to
    `PATH`, `HOME` and `LANG`, which is all that it gets.
    """

    name: str
    command: tuple[str, ...]
    clean: tuple[int, ...]
    finding: tuple[int, ...]
    not_examined: tuple[int, ...] = ()
    skipped_line: str = ""
    version: tuple[str, ...] = ()
    timeout: int = 3600
    environment: dict[str, str] = {}

    def __post_init__(self) -> None:
        codes = (*self.clean, *self.finding, *self.not_examined)
        if not self.name or not self.command:
            raise UsageError("a scanner has no name or no command")
        if not any("{folder}" in part or "{path}" in part for part in self.command[1:]):
            raise UsageError(f"the command of scanner {self.name} has neither {{folder}} nor {{path}}")
        if not self.clean or not self.finding or len(set(codes)) != len(codes):
            raise UsageError(f"the exit codes of scanner {self.name} are not one for each meaning")
        if not 0 < self.timeout <= 7 * 86_400:
            raise UsageError(f"the timeout of scanner {self.name} is not between a second and a week")


class GateRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True,
                rename="kebab"):
    """What the gates let through. Sizes are bytes.

    `pickle`: `deny` refuses every pickle; `tensors` takes those that hold tensors, numbers and texts, and what is
    called in them is on the list of this package or in `allow_globals` (`module.name`). `unexamined` are patterns of
    paths that may pass although no gate knows their format; they excuse no finding. `scanners` are names of
    presets or scanners of the policy's own.
    """

    formats: tuple[str, ...] = DEFAULT_FORMATS
    pickle: Literal["deny", "tensors"] = "deny"
    allow_globals: tuple[str, ...] = ()
    unexamined: tuple[str, ...] = ()
    scanners: tuple[Scanner | str, ...] = ()
    json_bytes: int = 64 * MIB
    json_values: int = 4_000_000
    json_depth: int = 64
    text_bytes: int = 64 * MIB
    header_bytes: int = 64 * MIB
    pickle_steps: int = 4_000_000

    def __post_init__(self) -> None:
        if unknown := set(self.formats) - set(FORMATS):
            raise UsageError(f"no gate knows the format {min(unknown)}", hint=f"known are {', '.join(FORMATS)}")
        for name in self.allow_globals:
            if "." not in name or name.split(".")[0] in _NEVER:
                raise UsageError(f"a policy cannot allow the global {name}")
        limits = (self.json_bytes, self.json_values, self.json_depth, self.text_bytes, self.header_bytes,
                  self.pickle_steps)
        if min(limits) < 1 or self.json_depth > 200 or self.header_bytes > 100_000_000:
            raise UsageError("a limit of the gates is out of range")
        for scanner in self.scanners:
            resolve_scanner(scanner)


# Exit codes as the programs give them: picklescan 1.0.5, modelscan 0.8.8, modelaudit 0.2.54, ClamAV 1.4.6.
PRESETS: Final = {
    scanner.name: scanner for scanner in (
        # 0 also where it opened nothing, which it says in a line.
        Scanner(name="picklescan", command=("picklescan", "--path", "{folder}"), clean=(0,), finding=(1,),
                skipped_line="Scanned files: 0"),
        # 3 where it knows no file, as in a folder of safetensors; 1 and 2 end with issues and with errors.
        Scanner(name="modelscan", command=("modelscan", "scan", "--path", "{folder}"), clean=(0,), finding=(1,),
                not_examined=(3,), version=("modelscan", "--version")),
        Scanner(name="modelaudit", command=("modelaudit", "scan", "--quiet", "--no-cache", "--strict", "{folder}"),
                clean=(0,), finding=(1,), version=("modelaudit", "--version"),
                environment={"NO_ANALYTICS": "1", "PROMPTFOO_DISABLE_TELEMETRY": "1"}),
        # Without the alert a file above its limit is reported as clean; above 2 GiB it cannot look at all.
        Scanner(name="clamscan", command=("clamscan", "--recursive", "--infected", "--no-summary",
                                          "--alert-exceeds-max=yes", "--max-filesize=2000M", "--max-scansize=2000M",
                                          "--max-scantime=0", "{folder}"),
                clean=(0,), finding=(1,), version=("clamscan", "--version")),
    )
}


def resolve_scanner(scanner: Scanner | str) -> Scanner:
    """The scanner, or the preset of that name. Raises UsageError for a name that is none."""
    if isinstance(scanner, Scanner):
        return scanner
    if scanner not in PRESETS:
        raise UsageError(f"no scanner is known as {scanner}", hint=f"known are {', '.join(PRESETS)}")
    return PRESETS[scanner]

"""The rooms of the package and what each may do; ceilings; one name for one thing.

The table is the design: a room imports rooms of lower rank, and of its own rank only itself.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "airbundle"
RANKS = {
    "__main__": 9, "__init__": 9,
    "cli": 8,
    "station_api": 7,
    "api": 6,
    "station": 5, "devices": 4, "cluster": 4,
    "transfer": 3,
    "media": 2, "codec": 2, "crypto": 2,
    "format": 1,
    "errors": 0, "stages": 0, "version": 0,
}
MAY_OPEN = {"media", "cli", "devices"}
MAY_OPEN_MODULES = {"station/state.py", "station/commands.py"}
MAY_SHOW = {"cli"}
OPENING = {"open", "os.open", "io.open", "os.fdopen", "os.popen", "os.system", "np.load", "np.save", "np.memmap",
           "np.fromfile", "ctypes.CDLL"}
OPENS_FOR_YOU = {"io", "pathlib", "tempfile", "shutil", "subprocess", "mmap", "fileinput", "linecache"}
LOADS_A_LIBRARY = ("codec/engines.py", "ctypes.CDLL")  # ISA-L
NOT_FOR_FORMAT = {"os", "io", "socket", "time", "pathlib", "sys", "ctypes", "threading", "subprocess"}
GUARDS_A_CACHE = ("format/encoding.py", "threading")  # of decoders, which no two threads may make at once
NETWORK = {"socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "smtplib",
           "asyncio", "socketserver", "xmlrpc", "distributed", "dask", "mpi4py"}
KNOWS_A_NETWORK = {("cluster.py", "distributed")}
VAGUE = {"utils", "util", "helpers", "common", "base", "manager", "core", "misc"}
LINES_MAX, FUNCTION_MAX = 400, 60

# A verb has one name on its way down: command, function of the API, the steps.
VERBS = {"plan", "pack", "verify", "repair", "rebuild", "copy", "unpack", "inspect", "sign", "rewrap", "salvage",
         "rescue", "intake", "make_slip"}
PRIMITIVES = {"sign": {"crypto"}, "intake": {"station", "station_api"}}  # what the verb comes down to

MODULES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
each_module = pytest.mark.parametrize("module", MODULES)


def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text())


def room(module: str) -> str:
    return module.split("/", maxsplit=1)[0].removesuffix(".py")


def imports(module: str) -> set[str]:
    """Every module that is imported, dotted; those under TYPE_CHECKING and inside functions too."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@each_module
def test_a_room_imports_only_rooms_below_it(module: str) -> None:
    own = room(module)
    assert own in RANKS, f"{module} is in no room of the table"
    for name in imports(module):
        if name.startswith("airbundle."):
            other = name.split(".")[1]
            assert other == own or RANKS[other] < RANKS[own], f"{module} imports {name}"


@each_module
def test_only_some_rooms_open_or_show_anything(module: str) -> None:
    own, found = room(module), {name.split(".")[0] for name in imports(module)}
    assert {(module, name) for name in found & NETWORK} <= KNOWS_A_NETWORK
    assert own != "format" or all((module, name) == GUARDS_A_CACHE for name in found & NOT_FOR_FORMAT)
    assert own in MAY_SHOW or not found & {"rich", "typer"}
    may_open = own in MAY_OPEN or module in MAY_OPEN_MODULES
    assert may_open or not found & OPENS_FOR_YOU
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            where = f"{module}:{node.lineno} calls {call}"
            assert own in MAY_SHOW or call not in {"print", "input", "sys.stdout.write", "sys.stderr.write"}, where
            assert may_open or call not in OPENING or (module, call) == LOADS_A_LIBRARY, where


@pytest.mark.parametrize("path", [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LINES_MAX
    assert path.stem not in VAGUE
    for node in ast.walk(ast.parse(text)) if PACKAGE in path.parents else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < FUNCTION_MAX, f"{node.name} is too long"


def test_a_public_name_stands_for_one_thing() -> None:
    places: defaultdict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        for node in tree(module).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(module)
    several = {name: modules for name, modules in places.items() if len(modules) > 1}
    for verb in VERBS & several.keys():
        rooms = [room(module) for module in several.pop(verb)]
        assert len(rooms) == len(set(rooms)), verb
        assert set(rooms) <= {"cli", "api", "transfer"} | PRIMITIVES.get(verb, set()), verb
    assert not several

"""The package's shape: imports point one way, each outside library has one owner, decisions only decide."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fetchq"

# A module imports only from those above it. A noun is a file or a folder of that name.
BANDS = {
    "words": ["_version", "_units", "_errors", "_log", "_arguments", "_models", "_settings", "_events"],
    "decisions": [
        "_naming",
        "_templates",
        "_digests",
        "_ranges",
        "_retry",
        "_throttle",
        "_connections",
        "_pacer",
        "_hosts",
        "_queue_files",
    ],
    "edges": ["_http", "_disk", "_store"],
    "work": ["_transfer", "_scheduler"],
    "doors": ["_api", "_progress", "_report", "_demo", "_cli", "__main__", "__init__"],
}
ORDER = [noun for nouns in BANDS.values() for noun in nouns]
# In these bands no module knows a neighbour: each is replaceable without a look at the others.
STRANGERS = ("edges", "work")

OWNERS = {
    **dict.fromkeys(
        (
            "httpx",
            "httpcore",
            "h11",
            "h2",
            "httptools",
            "certifi",
            "anyio",
            "idna",
            "publicsuffixlist",
            "socksio",
            "truststore",
        ),
        "_http",
    ),
    "aiofiles": "_disk",
    "sqlite3": "_store",
    "tqdm": "_progress",
    "wcwidth": "_progress",
    "click": "_cli",
}
# Each of these waits, reads a clock, rolls dice or talks to something: an edge's or a worker's business.
NO_DECISION = {"asyncio", "random", "secrets", "selectors", "socket", "subprocess", "threading", "time"}
OPENING = {"open", "read_bytes", "read_text", "write_bytes", "write_text", "sleep", "now", "today", "utcnow"}
# Docstrings say Return and Whether instead.
DIALECT = {"Give", "Say", "Tell"}
VAGUE = {"common", "core", "helper", "helpers", "manager", "misc", "util", "utils"}

MODULE_LINES = 500
BODY_LINES = 40

# What a rule lets pass, and why: (file, rule) -> (what its complaint says, reason).
ALLOWED = {
    ("_queue_files/lines.py", "opens"): (
        "open()",
        "a queue file is opened once, here; formats are handed its lines",
    ),
    ("_queue_files/followed.py", "opens"): (
        "open()",
        "a queue file that is followed is opened again when another takes its place",
    ),
    ("_api/downloader.py", "foreign"): (
        "httpx",
        "the caller's own client and auth stand in its signatures, for type checkers",
    ),
    ("_api/functions.py", "foreign"): (
        "httpx",
        "the caller's own client and auth stand in its signatures, for type checkers",
    ),
}


@dataclass(frozen=True)
class Module:
    """A file of the package; ``name`` is its path below it."""

    name: str
    source: str

    @property
    def noun(self) -> str:
        return self.name.split("/", 1)[0].removesuffix(".py")

    @property
    def band(self) -> str:
        return next((band for band, nouns in BANDS.items() if self.noun in nouns), "")

    @property
    def package(self) -> list[str]:
        """The dotted path that a relative import starts from."""
        return ["fetchq", *self.name.split("/")[:-1]]

    @property
    def tree(self) -> ast.Module:
        return parsed(self.source)

    def nodes(self) -> Iterator[ast.AST]:
        return ast.walk(self.tree)

    def imports(self) -> Iterator[list[str]]:
        """Each import as an absolute dotted path, the imported name included."""
        for node in self.nodes():
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = self.package[: len(self.package) - node.level + 1] if node.level else []
                start = [*start, *(node.module or "").split(".")] if node.module else start
                yield from ([*start, alias.name] for alias in node.names)


@lru_cache(None)
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


@lru_cache(None)
def modules() -> list[Module]:
    return [
        Module(path.relative_to(PACKAGE).as_posix(), path.read_text("utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


# The rules: each yields what a module does against it.


def out_of_order(module: Module) -> Iterator[str]:
    if module.noun not in ORDER:
        yield f"{module.noun} has no place in BANDS"
        return
    for path in module.imports():
        if path[0] != "fetchq":
            continue
        noun = path[1] if len(path) > 1 else ""
        if noun == module.noun:
            continue
        if noun not in ORDER[:-1]:
            yield f"imports {noun or 'fetchq'} from the package root"
        elif ORDER.index(noun) > ORDER.index(module.noun):
            yield f"imports {noun}, which stands below it"
        elif module.band in STRANGERS and noun in BANDS[module.band]:
            yield f"imports {noun}, a stranger in its own band"


def foreign(module: Module) -> Iterator[str]:
    for library in {path[0] for path in module.imports()} - {"fetchq"}:
        owner = OWNERS.get(library)
        if owner is None and library not in sys.stdlib_module_names:
            yield f"imports {library}, which has no owner"
        elif owner not in {None, module.noun}:
            yield f"imports {library}, which belongs to {owner}"


def acts(module: Module) -> Iterator[str]:
    if module.band != "decisions":
        return
    for library in {path[0] for path in module.imports()} & NO_DECISION:
        yield f"imports {library}"
    for node in module.nodes():
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"line {node.lineno}: {type(node).__name__}"


def opens(module: Module) -> Iterator[str]:
    if module.band != "decisions":
        return
    for node in module.nodes():
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            if called in OPENING:
                yield f"line {node.lineno}: {called}()"


def vague(module: Module) -> Iterator[str]:
    for part in module.name.removesuffix(".py").split("/"):
        if set(part.split("_")) & VAGUE:
            yield f"{part} names no thing of the trade"
    for node in module.nodes():
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Manager", "Helper", "Utils")):
            yield f"class {node.name} names no thing of the trade"


def too_long(module: Module) -> Iterator[str]:
    lines = module.source.count("\n")
    if lines > MODULE_LINES:
        yield f"{lines} lines"
    for node in module.nodes():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1
            if length > BODY_LINES:
                yield f"{node.name}: a body of {length} lines"


def undocumented(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield "has no docstring"


def dialect(module: Module) -> Iterator[str]:
    """PEP 257: a docstring says "Return that"; and "Whether" where the value is a bool."""
    for node in module.nodes():
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = (ast.get_docstring(node) or "").split(maxsplit=1)[:1]
            if first and first[0] in DIALECT:
                yield f"line {getattr(node, 'lineno', 1)}: the docstring begins with {first[0]}"


Rule = Callable[[Module], Iterator[str]]
RULES: list[Rule] = [out_of_order, foreign, acts, opens, vague, too_long, undocumented, dialect]


def allowed(module: Module, rule: Rule, complaint: str) -> bool:
    said, _ = ALLOWED.get((module.name, rule.__name__), ("", ""))
    return bool(said) and said in complaint


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps(rule: Rule) -> None:
    broken = [
        f"{module.name}: {complaint}"
        for module in modules()
        for complaint in rule(module)
        if not allowed(module, rule, complaint)
    ]
    assert broken == []


def namesakes(package: list[Module]) -> dict[str, list[str]]:
    """Names that several classes have, a leading underscore aside, and the modules of these classes."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for module in package:
        for node in module.nodes():
            if isinstance(node, ast.ClassDef):
                found[node.name.lstrip("_")].append(module.name)
    return {name: places for name, places in found.items() if len(places) > 1}


def test_no_two_classes_have_one_name() -> None:
    assert namesakes(modules()) == {}


def test_namesakes_are_seen_over_folders_and_underscores() -> None:
    package = [Module("_a.py", "class Stream: ..."), Module("_b/c.py", "def f():\n    class _Stream: ...")]
    assert namesakes(package) == {"Stream": ["_a.py", "_b/c.py"]}


def test_every_allowance_is_still_needed() -> None:
    used = {
        (module.name, rule.__name__)
        for module in modules()
        for rule in RULES
        for complaint in rule(module)
        if allowed(module, rule, complaint)
    }
    assert used == set(ALLOWED)


@pytest.mark.parametrize(
    ("rule", "name", "source", "broken"),
    [
        (out_of_order, "_ranges.py", "from ._models import Span\nimport re", False),
        (out_of_order, "_ranges.py", "from ._http import HttpClient", True),
        (out_of_order, "_models.py", "from ._events import Event", True),
        (out_of_order, "_ranges.py", "from fetchq import Span", True),
        (out_of_order, "_ranges.py", "import fetchq", True),
        (out_of_order, "_ranges.py", "from . import _models", False),
        (out_of_order, "_ranges.py", "from . import Span", True),
        (out_of_order, "_ranges.py", "def f():\n    import fetchq._api", True),
        (
            out_of_order,
            "_http/parser.py",
            "from ._tls import context\nfrom fetchq._errors import TLSError",
            False,
        ),
        (out_of_order, "_http/parser.py", "from fetchq._disk import Parts", True),
        (out_of_order, "_http/parser.py", "from .._disk import Parts", True),
        (out_of_order, "_scheduler.py", "from ._transfer import Transfer", True),
        (out_of_order, "_transfer.py", "from ._scheduler import Scheduler", True),
        (out_of_order, "_retry.py", "from ._digests import compare", False),
        (out_of_order, "_surprise.py", "", True),
        (foreign, "_http/parser.py", "import httpx, h11", False),
        (foreign, "_api.py", "import httpx", True),
        (foreign, "_disk.py", "from aiofiles.threadpool import wrap", False),
        (foreign, "_cli.py", "from tqdm import tqdm", True),
        (foreign, "_store/store.py", "import sqlite3", False),
        (foreign, "_retry.py", "import numpy", True),
        (acts, "_retry.py", "async def wait(): ...", True),
        (acts, "_retry.py", "from random import uniform", True),
        (acts, "_retry.py", "import math", False),
        (acts, "_api.py", "import asyncio\nasync def run(): await run()", False),
        (opens, "_digests.py", "open('x')", True),
        (opens, "_digests.py", "datetime.now()", True),
        (opens, "_digests.py", "print('open')", False),
        (vague, "_http/_utils.py", "", True),
        (vague, "_manager.py", "", True),
        (vague, "_transfer.py", "class JobManager: ...", True),
        (vague, "_units.py", "class Unit: ...", False),
        (too_long, "_http.py", "x = 1\n" * 501, True),
        (too_long, "_http.py", "def f():\n    'doc'\n" + "    x = 1\n" * 40, False),
        (too_long, "_http.py", "def f():\n    'doc'\n" + "    x = 1\n" * 41, True),
        (undocumented, "_http.py", "import httpx", True),
        (dialect, "_http.py", "def f():\n    'Give bytes.'", True),
        (dialect, "_http.py", "class C:\n    async def f(self):\n        'Tell whether it is open.'", True),
        (dialect, "_http.py", "'Given bytes.'\ndef f():\n    'Return bytes. Give and take.'", False),
    ],
)
def test_a_rule_sees(rule: Rule, name: str, source: str, broken: bool) -> None:
    assert bool(list(rule(Module(name, source)))) is broken

"""Check the laws of the packages: each is a function from a module's source to its violations, and runs no code."""

from __future__ import annotations

import ast
import gc
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeGuard

from tests.support import syntax

ROOT = Path(__file__).resolve().parents[2]

ENTRY_POINTS = {"action", "cli", "runner"}
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"pytest"}),
    frozenset(ENTRY_POINTS),
    frozenset({"wiring"}),
    frozenset({"engine"}),
    frozenset({"clouds", "commands", "github", "hub", "sandbox", "local"}),
    frozenset({"lease"}),
    frozenset({"ports"}),
    frozenset({"result"}),
    frozenset({"planning"}),
    frozenset({"inputs"}),
    frozenset({"model", "bounded", "backoff", "saved_values"}),
    frozenset({"errors"}),
)
"""From the top down. A package may import itself and packages of a lower layer, and none of its own or a higher one."""

CLOUD_LIBRARIES = {"sky", "boto3", "botocore", "awscli", "azure", "google", "googleapiclient", "kubernetes", "msgraph"}
EMULATOR_LIBRARIES = {"moto", "docker", "boto3", "botocore"}
HUB_LIBRARIES = {"huggingface_hub", "httpx"}
GITHUB_LIBRARIES = {"github", "actions_toolkit", "requests"}
VAGUE_NAMES = re.compile(r"(^|_)(utils?|helpers?|managers?|base|common|misc|stuff)(_|$)")
MARKDOWN = re.compile(
    r"\|\s*:?-{3,}|</?details|</?summary>|^#{2,6} \w|\[!(NOTE|WARNING|CAUTION)\]|```|\]\(http", re.MULTILINE
)

MARKDOWN_WRITERS = {"result/report.py", "result/matrix/markdown.py", "result/receipt.py"}
"""Of one run, of many, and of drills."""

LEASE_NAMES = re.compile(r"cvl-ci-(?:(?:owner|lease|run|deadline|kept)(?![a-z])|\*)|(?<![a-z])cvl-(?:$|[\[*.({?\\])")
"""The labels of a lease, and a pattern or the beginning of its name."""
LEASE_NAME_WRITERS = {"model/lease_name.py", "github/artifacts/name.py"}
"""The second writes the default name of an artifact, `cvl-JOB`, which is no lease's."""

ACTION_VARIABLE = re.compile(r"(?<![A-Z_])INPUT_")

SLEEPERS = {"backoff.py", "local/clock.py", "engine/worker/command_guard.py", "sandbox/emulator/bucket_gate.py"}
"""The third is a program without the package, like those of engine/machine. The fourth slows a body down to a pace."""

LONGEST_FILE, LONGEST_FUNCTION = 350, 60
MOST_METHODS = 15
MOST_FIELDS = 12
MOST_NAMESAKES = 2


@dataclass(frozen=True, kw_only=True)
class Import:
    """`name` is what is imported, absolute and dotted; `lazy` when inside a function, `typing` when for types only."""

    name: str
    line: int
    lazy: bool = False
    typing: bool = False

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Module:
    """One file below cvl_ci/: its path relative to that, and its source."""

    path: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All nodes of the tree: each law looks at them."""
        return tuple(syntax.nodes(self.tree))

    @cached_property
    def statements(self) -> tuple[ast.AST, ...]:
        """All statements of the tree: each class and each import is one."""
        return tuple(syntax.statements(self.tree))

    @cached_property
    def dotted_names(self) -> tuple[tuple[int, str], ...]:
        """The line and the text of each dotted name, `from os import environ` read as os.environ."""
        return tuple(_names(self))

    @cached_property
    def docstrings(self) -> frozenset[ast.AST]:
        """Strings that stand alone: docstrings, and those under a field."""
        alone = (node.value for node in self.nodes if isinstance(node, ast.Expr))
        return frozenset(value for value in alone if isinstance(value, ast.Constant))

    @property
    def package(self) -> str:
        return PurePosixPath(self.path).parts[0].removesuffix(".py")

    @property
    def stem(self) -> str:
        return PurePosixPath(self.path).stem

    @property
    def name(self) -> str:
        parts = PurePosixPath("cvl_ci", self.path).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def own_program(self) -> bool:
        """A separate process with a life of its own: it has its own signals, environment and exit."""
        return (
            (self.package in {"engine", "clouds"} and self.stem.startswith("worker"))
            or self.path.startswith("sandbox/emulator/")
            or self.path.startswith("engine/machine/")
        )

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(_imports(self.tree.body, lazy=False, typing=False))


def modules(package: Path = ROOT / "cvl_ci") -> list[Module]:
    return [
        Module(path.relative_to(package).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(package.rglob("*.py"))
    ]


@contextmanager
def without_garbage() -> Iterator[None]:
    """Look for no garbage meanwhile: trees are none, and they have millions of nodes."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# ---- laws about imports --------------------------------------------------------------------------------------------


def imports_go_down(module: Module) -> list[str]:
    if module.path == "__init__.py":
        return []  # the package root is an entry point of the library, and no module below it may import it
    layer = _layer(module.package)
    if layer is None:
        return [f"{module.path} is in no layer: give its package a place in LAYERS"]
    wrong = []
    for item in module.imports:
        package = item.name.split(".")[1] if item.name.startswith("cvl_ci.") else module.package
        other = _layer(package)
        if package != module.package and (other is None or other <= layer):
            wrong.append(f"{module.path}:{item.line} {module.package} imports {package}")
    return wrong


ENGINE_FOLDERS = ("machine", "task", "fetch", "server", "worker")
"""From the bottom up. The modules next to them may import all."""


def engine_folders_import_downwards(module: Module) -> list[str]:
    def rank(dotted: str) -> int:
        folder = dotted.removeprefix("cvl_ci.engine.").partition(".")[0]
        return ENGINE_FOLDERS.index(folder) if folder in ENGINE_FOLDERS else -1

    own = rank(module.path.removeprefix("engine/").replace("/", ".")) if module.package == "engine" else -1
    return [
        f"{module.path}:{i.line} imports {i.name}"
        for i in module.imports
        if own >= 0 and i.name.startswith("cvl_ci.engine.") and rank(i.name) > own
    ]


_FOR_MACHINES = "engine/machine/"
"""Programs of a folder that import each other, here and on a machine without this package."""


def root_is_not_imported(module: Module) -> list[str]:
    """`from cvl_ci import wiring` names a module in it, and is none."""
    packages = frozenset[str]().union(*LAYERS)
    return [
        f"{module.path}:{node.lineno} imports the package root"
        for node in module.statements
        if (isinstance(node, ast.Import) and any(alias.name == "cvl_ci" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.level > 0 and not module.path.startswith(_FOR_MACHINES))
        or (isinstance(node, ast.ImportFrom) and node.module == "cvl_ci" and {a.name for a in node.names} - packages)
    ]


def clouds_are_the_engines(module: Module) -> list[str]:
    allowed = CLOUD_LIBRARIES if module.package in {"engine", "clouds"} else set[str]()
    allowed = EMULATOR_LIBRARIES if module.package == "sandbox" else allowed
    return _foreign(module, CLOUD_LIBRARIES - allowed)


def emulators_are_the_sandboxs(module: Module) -> list[str]:
    return _foreign(module, {"moto", "docker"} if module.package != "sandbox" else set())


def github_is_githubs(module: Module) -> list[str]:
    """Clouds without a client that we need are asked by plain HTTP, in the inventories alone, with bounds."""
    plain = module.package in {"clouds", "bounded"}
    others = GITHUB_LIBRARIES - ({"requests"} if plain else set())
    return _foreign(module, others if module.package != "github" else set())


def the_hub_is_asked_in_one_package(module: Module) -> list[str]:
    """There too its client loads at its first use: it takes a third of a second."""
    return [
        f"{module.path}:{item.line} imports {item.name}"
        for item in module.imports
        if item.top in HUB_LIBRARIES and (module.package != "hub" or not (item.lazy or item.typing))
    ]


def the_sandbox_loads_its_emulator_late(module: Module) -> list[str]:
    if module.package != "sandbox" or module.own_program:
        return []
    return [
        f"{module.path}:{item.line} loads {item.top} when it is imported"
        for item in module.imports
        if item.top in EMULATOR_LIBRARIES and not item.lazy and not item.typing
    ]


def cycles(all_modules: Sequence[Module]) -> list[str]:
    """Each ring of modules that import each other, once."""
    names = {module.name for module in all_modules}
    graph = _without_ends({module.name: sorted({*_targets(module, names)}) for module in all_modules})
    results: set[tuple[str, ...]] = set()
    for start in graph:
        _walk(graph, start, [start], results)
    return [" → ".join((*ring, ring[0])) for ring in sorted(results)]


def namesakes(all_modules: Sequence[Module]) -> list[str]:
    """Each name of two or more public classes, with the modules that define them."""
    paths: dict[str, list[str]] = {}
    for module in all_modules:
        for node in module.statements:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                paths.setdefault(node.name, []).append(module.path)
    return [f"{name}: {', '.join(places)}" for name, places in sorted(paths.items()) if len(places) > 1]


def unclear_aliases(all_modules: Sequence[Module]) -> list[str]:
    """Each alias in an import of ours that names two things, and each thing that has two aliases."""
    names_of: dict[str, set[str]] = {}
    things_of: dict[str, set[str]] = {}
    aliases: set[tuple[str, str]] = set()
    for module in all_modules:
        for node in module.statements:
            for item in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                thing = f"{node.module}.{item.name}" if isinstance(node, ast.ImportFrom) else item.name
                if thing.startswith("cvl_ci."):
                    things_of.setdefault(item.asname or item.name, set()).add(thing)
                    if item.asname not in {None, item.name}:
                        aliases.add((item.asname or "", thing))
                        names_of.setdefault(thing, set()).add(item.asname or "")
    twofold = {name: things_of[name] for name, _ in aliases} | {thing: names_of[thing] for _, thing in aliases}
    return [f"{name}: {', '.join(sorted(others))}" for name, others in sorted(twofold.items()) if len(others) > 1]


def repeated_declarations(all_modules: Sequence[Module]) -> list[str]:
    """Each field of an input that is declared a second time.

    Second declarations are: another group's option of this name or help, an option outside the table, a flag that a
    parser spells itself, and a dataclass with several fields of one group.
    """
    wrong: list[str] = []
    first: dict[str, str] = {}
    groups: set[str] = set()
    for module in all_modules:
        for group, name, call in _declared_options(module):
            place = f"{module.path}:{call.lineno} {group}.{name}"
            if module.package != "inputs":
                wrong.append(f"{place} is declared outside the table of inputs")
            for key in (name, *_help(call)):
                if key in first:
                    wrong.append(f"{place} repeats {first[key]}: {key[:40]!r}")
                first.setdefault(key, f"{group}.{name}")
            groups.add(f"{module.path} {group}")
    return [*wrong, *_spelled_flags(all_modules, first), *_copied_groups(all_modules, groups)]


def _spelled_flags(all_modules: Sequence[Module], names: Mapping[str, str]) -> list[str]:
    """The sandbox's program has faults of its own as options, and none of the table's."""
    flags = {"--" + name.replace("_", "-"): place for name, place in names.items()}
    return [
        f"{module.path}:{call.lineno} spells {text}, which {flags.get(text, 'no group')} declares"
        for module in all_modules
        for call in module.nodes
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".add_argument")
        for text in (str(word.value) for word in call.args if isinstance(word, ast.Constant))
        if text.startswith("-") and text != "--version" and (module.package != "sandbox" or text in flags)
    ]


def _copied_groups(all_modules: Sequence[Module], groups: Collection[str]) -> list[str]:
    """Two fields of a group may have their namesakes in a plan, which holds other values: read, resolved, counted."""
    all_fields = _annotated_fields(all_modules)
    return [
        f"{place} copies {', '.join(copied)} of {group}"
        for place, fields in all_fields.items()
        if place not in groups
        for group, own in all_fields.items()
        if group in groups
        if len(copied := [name for name, kind in fields.items() if own.get(name) == kind]) > MOST_NAMESAKES
    ]


def _annotated_fields(all_modules: Sequence[Module]) -> dict[str, dict[str, str]]:
    return {
        f"{module.path} {node.name}": {
            item.target.id: ast.unparse(item.annotation).removesuffix(" | None")
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        }
        for module in all_modules
        for node in module.nodes
        if isinstance(node, ast.ClassDef)
    }


def _declared_options(module: Module) -> Iterator[tuple[str, str, ast.Call]]:
    """Yield the group, the name and the call of each `name: Type = option(...)`."""
    for node in module.nodes:
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and _is_option(item.value):
                    yield node.name, item.target.id, item.value


def _is_option(value: ast.expr | None) -> TypeGuard[ast.Call]:
    return isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] == "option"


def _help(call: ast.Call) -> list[str]:
    return [ast.unparse(word.value) for word in call.keywords if word.arg == "help"]


# ---- laws about what is done ---------------------------------------------------------------------------------------


def the_environment_is_read_at_the_entry_points(module: Module) -> list[str]:
    if module.own_program or module.package in ENTRY_POINTS | {"wiring"}:
        return []
    forbidden = {"os.environ", "os.environb", "os.getenv", "os.path.expanduser", "os.path.expandvars", "Path.home"}
    return [f"{module.path}:{line} reads {name}" for line, name in module.dotted_names if name in forbidden]


def signals_are_handled_at_the_entry_points(module: Module) -> list[str]:
    """Naming a signal to send it to a child is no handling."""
    if module.own_program or module.package in {"action", "cli"}:
        return []
    handled = [
        f"{module.path}:{line} uses {name}"
        for line, name in module.dotted_names
        if re.fullmatch(r"signal\.(?!SIG[A-Z0-9]+$|Signals$).+", name)
    ]
    named = [
        f"{module.path}:{item.line} imports {item.name}"
        for item in module.imports
        if re.fullmatch(r"signal\.(?!SIG[A-Z0-9]+$|Signals$).+", item.name)
    ]
    return handled + named


def the_entry_points_alone_exit(module: Module) -> list[str]:
    if module.own_program or module.package in {"action", "cli"}:
        return []
    exits = {"sys.exit", "os._exit", "os.abort", "exit", "quit", "SystemExit"}
    return [f"{module.path}:{line} uses {name}" for line, name in module.dotted_names if name in exits]


def the_lease_alone_takes_down(module: Module) -> list[str]:
    """Through the port: engine and clouds carry it out, and the sandbox has its own `down`. A verb is not an engine."""
    if module.package in {"lease", "engine", "clouds", "sandbox"}:
        return []
    verbs = {
        alias.asname or alias.name
        for node in module.nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cvl_ci.commands")
        for alias in node.names
    }
    return [
        f"{module.path}:{call.lineno} calls {calls}"
        for call in module.nodes
        if isinstance(call, ast.Call) and (calls := _takes_down(call.func, verbs))
    ]


def the_report_alone_writes_markdown(module: Module) -> list[str]:
    if module.path in MARKDOWN_WRITERS:
        return []
    return [
        f"{module.path}:{node.lineno} holds Markdown: {node.value[:40]!r}"
        for node in module.nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node not in module.docstrings
        and MARKDOWN.search(node.value)
    ]


def lease_names_are_written_in_one_place(module: Module) -> list[str]:
    if module.path in LEASE_NAME_WRITERS:
        return []
    return [
        f"{module.path}:{node.lineno} spells a label or the name of a lease: {node.value[:40]!r}"
        for node in module.nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node not in module.docstrings
        and LEASE_NAMES.search(node.value)
    ]


def action_variables_are_read_in_one_place(module: Module) -> list[str]:
    """Elsewhere a name that the table lacks would read as "not given", and no test could see it."""
    if module.path == "inputs/action_variables.py":
        return []
    return [
        f"{module.path}:{node.lineno} spells the variable of an input: {node.value[:40]!r}"
        for node in module.nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node not in module.docstrings
        and ACTION_VARIABLE.search(node.value)
    ]


def git_runs_in_one_file(module: Module) -> list[str]:
    """The program's name stands in local/git/git.py alone, and with it the environment that keeps hooks asleep."""
    if module.path == "local/git/git.py":
        return []
    return [
        f"{module.path}:{node.lineno} names the program git"
        for node in module.nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"(.*/)?git", node.value)
    ]


# ---- laws about shape ----------------------------------------------------------------------------------------------


def names_say_something(module: Module) -> list[str]:
    parts = [part.removesuffix(".py") for part in PurePosixPath(module.path).parts]
    return [f"{module.path} is named {part}" for part in parts if VAGUE_NAMES.search(part)]


def modules_say_what_they_are(module: Module) -> list[str]:
    return [] if (ast.get_docstring(module.tree) or "").strip() else [f"{module.path} has no docstring"]


def values_are_frozen_and_named(module: Module) -> list[str]:
    """In the packages of values every dataclass is frozen and keyword-only."""
    if module.package not in {"model", "inputs", "planning", "result", "ports", "errors"}:
        return []
    return [
        f"{module.path}:{node.lineno} {node.name} is not frozen and kw_only"
        for node in module.nodes
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if _is_dataclass(decorator) and not {"frozen", "kw_only"} <= _true_keywords(decorator)
    ]


def files_and_functions_fit_a_glance(module: Module) -> list[str]:
    length = len(module.source.splitlines())
    long_file = [f"{module.path} has {length} lines"] if length > LONGEST_FILE else []
    return long_file + [
        f"{module.path}:{node.lineno} {node.name} has {lines} lines"
        for node in module.nodes
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]


def classes_have_one_job(module: Module) -> list[str]:
    """A class has at most 15 public methods, properties included."""
    return [
        f"{module.path}:{node.lineno} {node.name} has {len(public)} public methods"
        for node in module.nodes
        if isinstance(node, ast.ClassDef)
        if len(public := _public_methods(node)) > MOST_METHODS
    ]


def values_fit_a_glance(module: Module) -> list[str]:
    """A dataclass has at most 12 fields: more of them are groups."""
    return [
        f"{module.path}:{node.lineno} {node.name} has {count} fields"
        for node in module.nodes
        if isinstance(node, ast.ClassDef) and any(_is_dataclass(decorator) for decorator in node.decorator_list)
        if (count := sum(isinstance(item, ast.AnnAssign) for item in node.body)) > MOST_FIELDS
    ]


def the_clock_alone_sleeps(module: Module) -> list[str]:
    """A pause is that of a Backoff, a Pace or the Clock port: elsewhere no test could wait without the wall's clock."""
    if module.path in SLEEPERS or module.path.startswith("engine/machine/"):
        return []
    return [
        f"{module.path}:{node.lineno} sleeps: {ast.unparse(node)}"
        for node in module.nodes
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in {"time.sleep", "asyncio.sleep"})
        or (
            isinstance(node, ast.ImportFrom)
            and node.module in {"time", "asyncio"}
            and any(name.name == "sleep" for name in node.names)
        )
    ]


def pauses_grow_in_one_place(module: Module) -> list[str]:
    """A pause that grows with each attempt is Backoff's: elsewhere it would be another loop without a test's clock."""
    if module.path == "backoff.py":
        return []
    return [
        f"{module.path}:{node.lineno} computes a pause: {ast.unparse(node)}"
        for node in module.nodes
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Pow)
        and re.search(r"attempt|tries|retr|try", ast.unparse(node.right))
    ]


# ---- reading the tree ----------------------------------------------------------------------------------------------


def _layer(package: str) -> int | None:
    return next((depth for depth, packages in enumerate(LAYERS) if package in packages), None)


def _foreign(module: Module, forbidden: set[str]) -> list[str]:
    return [f"{module.path}:{item.line} imports {item.name}" for item in module.imports if item.top in forbidden]


def _imports(body: Sequence[ast.AST], *, lazy: bool, typing: bool) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (Import(name=a.name, line=node.lineno, lazy=lazy, typing=typing) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            yield from (
                Import(name=f"{start}.{a.name}", line=node.lineno, lazy=lazy, typing=typing) for a in node.names
            )
        else:
            inside = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            for_types = typing or (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"))
            yield from _imports(syntax.inner(node), lazy=inside, typing=for_types)


def _targets(module: Module, names: set[str]) -> Iterator[str]:
    """Modules of ours that it loads: `from cvl_ci.engine import task` loads cvl_ci.engine.task."""
    for item in module.imports:
        parent = item.name.rpartition(".")[0]
        for name in (item.name, parent):
            if name in names and name != module.name and not item.typing:
                yield name
                break


def _without_ends(graph: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """Drop modules that import no other: they are in no ring. Repeat this, or the walk takes every way."""
    kept = {name: [target for target in targets if graph.get(target)] for name, targets in graph.items()}
    remaining = {name: targets for name, targets in kept.items() if targets}
    return remaining if remaining == graph else _without_ends(remaining)


def _walk(graph: Mapping[str, Sequence[str]], start: str, path: list[str], found: set[tuple[str, ...]]) -> None:
    """Rings through `start` whose other members come after it in order: each ring is found from its first member."""
    for target in graph.get(path[-1], ()):
        if target == start:
            found.add(tuple(path))
        elif target > start and target not in path:
            _walk(graph, start, [*path, target], found)


def _names(module: Module) -> Iterator[tuple[int, str]]:
    renamed = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in module.nodes
        if isinstance(node, ast.ImportFrom) and node.module in {"os", "sys", "signal"}
        for alias in node.names
    } | {
        alias.asname: alias.name
        for node in module.nodes
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.asname
    }
    for node in module.nodes:
        if isinstance(node, (ast.Name, ast.Attribute)):
            head, dot, rest = _dotted(node).partition(".")
            yield node.lineno, f"{renamed.get(head, head)}{dot}{rest}"


def _dotted(node: ast.expr) -> str:
    """Return what ast.unparse returns; of names with dots, sooner."""
    attributes, inner = [], node
    while isinstance(inner, ast.Attribute):
        attributes.append(inner.attr)
        inner = inner.value
    return ".".join([inner.id, *reversed(attributes)]) if isinstance(inner, ast.Name) else ast.unparse(node)


def _takes_down(called: ast.expr, verbs: set[str]) -> str | None:
    name = ast.unparse(called)
    *_, receiver, method = ["", *re.sub(r"\(.*?\)", "", name).split(".")]
    if method == "down" and receiver and "sandbox" not in receiver and receiver not in verbs:
        return name
    return name if method == "remove" and "inventory" in receiver else None


def _public_methods(node: ast.ClassDef) -> set[str]:
    return {
        part.name
        for part in node.body
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)) and not part.name.startswith("_")
    }


def _is_dataclass(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).partition("(")[0].rpartition(".")[2] == "dataclass"


def _true_keywords(decorator: ast.expr) -> set[str]:
    if not isinstance(decorator, ast.Call):
        return set()
    return {
        keyword.arg
        for keyword in decorator.keywords
        if keyword.arg and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
    }

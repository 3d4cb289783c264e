"""The layers of the design, held on the source itself: who may import whom, and who may touch files."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STEPS = {
    *{"anatomy", "contrast", "lesions", "describe", "registration", "tracking", "burden", "change", "coarser"},
    *{"growth", "stats"},
}
SHARED = {"tables", "types", "errors", "grid", "noise"}
RANKS = (
    SHARED,
    {"study", "scan", "structures", "conditions", "phantom", "store", "placing", "figures", "words", "graded"}
    | {"fitted"},
    {"points", "admit"},
    STEPS,
    {"record"},
    {"stages", "crew"},
    {"pipeline"},
    {"check", "index", "selftest", "demo", "export"},
    {"", "cli"},
)
"""Lower ranks first; a module imports nothing of a higher one. The empty name is the package itself."""

USES_SIMPLEITK = {
    *{"types", "grid", "scan", "structures", "study", "phantom", "store", "figures"},
    *{"record", "crew", "pipeline", "selftest", "dashboard.slices"},
    *(STEPS - {"stats"}),
}
USES_FILES = {
    *{"scan", "structures", "study", "conditions", "phantom", "store", "placing", "export", "cli"},
    *{"dashboard.app", "dashboard.slices"},
    # The file that holds the token; a report, made aside and sent.
    *{"dashboard.", "dashboard.printing"},
    # The finished parts of a visit: docs/decisions/0002.
    *{"stages", "record", "index"},
    # The study folder that it makes, and throws away.
    *{"selftest"},
}
FILE_CALLS = {
    *{"open", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "unlink", "rmtree"},
    *{"read_csv", "read_parquet", "read_excel", "to_csv", "to_parquet", "to_excel"},
    *{"ReadImage", "WriteImage", "ImageFileReader", "ImageSeriesReader", "ImageFileWriter"},
    *{"ReadTransform", "WriteTransform", "dcmread", "dcmwrite", "save_as"},
}

FILES = sorted(path for package in ("monitor", "dashboard") for path in (ROOT / package).rglob("*.py"))


def module(path: Path) -> str:
    """Name the module that a file belongs to: ``monitor/_stats/mmrm.py`` belongs to ``stats``."""
    package, first, *_ = path.relative_to(ROOT).with_suffix("").parts
    name = "" if first in {"__init__", "__main__"} else first.removeprefix("_")
    return name if package == "monitor" else f"{package}.{name}"


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports, relative ones made absolute."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def ours(path: Path) -> set[str]:
    """Return the modules of monitor that a file imports, its own left out; a bare ``monitor`` is the empty name."""
    seconds = {[*name.split("."), ""][1].removeprefix("_") for name in imports(path) if name.split(".")[0] == "monitor"}
    return {name if rank(name) is not None else "" for name in seconds} - {module(path)}


def calls(node: ast.AST) -> set[str]:
    """Return the last names of everything that is called within a node."""
    functions = [inner.func for inner in ast.walk(node) if isinstance(inner, ast.Call)]
    return {f.id if isinstance(f, ast.Name) else f.attr for f in functions if isinstance(f, ast.Name | ast.Attribute)}


def rank(name: str) -> int | None:
    return next((number for number, names in enumerate(RANKS) if name in names), None)


def of(package: str, *, within: set[str] | None = None, without: set[str] = frozenset()) -> list:
    """Return test parameters: the files of a package whose module is in one set and not in another."""
    chosen = [path for path in FILES if path.is_relative_to(ROOT / package)]
    kept = [p for p in chosen if (within is None or module(p) in within) and module(p) not in without]
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in kept]


def everywhere(*, without: set[str] = frozenset()) -> list:
    return of("monitor", without=without) + of("dashboard", without=without)


@pytest.mark.parametrize("path", of("monitor", within=STEPS))
def test_steps_share_only_tables_types_and_grid(path):
    """A step imports no other step, and of ours only what all steps share."""
    assert ours(path) <= SHARED


@pytest.mark.parametrize("path", of("monitor"))
def test_imports_point_down(path):
    """No module imports one of a higher layer, and each has a place in the layers."""
    own = rank(module(path))
    assert own is not None, f"give {module(path)} a place in RANKS"
    assert {name for name in ours(path) if (rank(name) or 0) > own} == set()


@pytest.mark.parametrize("path", of("monitor"))
def test_monitor_knows_nothing_of_the_web(path):
    """The analysis imports neither the dashboard nor what that is made with."""
    assert packages(path) & {"dashboard", "dash", "dash_ag_grid", "plotly", "flask", "waitress"} == set()


@pytest.mark.parametrize("path", of("dashboard"))
def test_dashboard_computes_nothing_new(path):
    """The dashboard reads results: it imports no step and no pipeline."""
    assert ours(path) & (STEPS | {"pipeline", "selftest"}) == set()


@pytest.mark.parametrize("path", everywhere(without=USES_SIMPLEITK))
def test_simpleitk_stays_in_the_image_steps(path):
    """Only the modules that handle images import SimpleITK."""
    assert "SimpleITK" not in packages(path)


@pytest.mark.parametrize("path", everywhere(without={"stats"}))
def test_statsmodels_stays_in_stats(path):
    """Only the trends import statsmodels."""
    assert "statsmodels" not in packages(path)


@pytest.mark.parametrize("path", everywhere(without=USES_FILES))
def test_files_are_touched_at_the_edges_only(path):
    """Outside the few modules that read and write, all is values in, values out."""
    assert calls(tree(path)) & FILE_CALLS == set()


@pytest.mark.parametrize("path", everywhere(without={"cli"}))
def test_only_the_command_line_prints_exits_and_catches_all(path):
    """Outside the command line there is no print, no exit and no except that takes everything."""
    if path.name == "keeper.py":
        # A program of its own: the child that it forks must not run on into its parent's code.
        assert calls(tree(path)) & {"print", "exit", "SystemExit"} == set()
        return
    nodes = list(ast.walk(tree(path)))
    caught = [node.type for node in nodes if isinstance(node, ast.ExceptHandler)]
    assert None not in caught, "a bare except"
    assert {name for kind in caught for name in identifiers(kind)} & {"Exception", "BaseException"} == set()
    assert calls(tree(path)) & {"print", "exit", "_exit", "SystemExit"} == set()


def identifiers(node: ast.AST) -> Iterator[str]:
    return (inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))


@pytest.mark.parametrize("path", everywhere())
def test_importing_does_no_work(path):
    """At the top of a module stand only imports, definitions, constants and docstrings."""
    for node in tree(path).body:
        if isinstance(node, ast.If):
            assert ast.unparse(node.test) in {"TYPE_CHECKING", "__name__ == '__main__'"}
        elif isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"line {node.lineno} calls something"
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assert all(isinstance(target, ast.Name | ast.Tuple) for target in targets), (
                f"line {node.lineno} sets a part"
            )
            assert calls(node) & FILE_CALLS == set(), f"line {node.lineno} touches a file"
        else:
            assert isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef), f"line {node.lineno}"


@pytest.mark.parametrize("path", everywhere())
def test_everything_public_has_a_docstring(path):
    """Each module and each public function, class and method says what it is."""
    assert [name for name, node in public(tree(path), "module") if not ast.get_docstring(node)] == []


def public(node: ast.Module | ast.ClassDef | ast.FunctionDef, name: str) -> Iterator[tuple[str, ast.AST]]:
    yield name, node
    inner = [] if isinstance(node, ast.FunctionDef) else node.body
    for child in inner:
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield from public(child, child.name)


@pytest.mark.parametrize("path", everywhere())
def test_names_say_what_a_file_holds(path):
    """No file is a drawer for the rest."""
    assert path.stem.strip("_") not in {"utils", "util", "helpers", "helper", "core", "common", "misc", "base"}


def test_the_pins_name_no_host_and_no_machine():
    """The pins hold names, versions and hashes only, so that they install from wherever a machine is set up to look."""
    lines = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "://" in line or "@" in line or line.startswith(("-", "#"))] == []
    assert sum("==" in line for line in lines) > 20


def test_data_is_in_the_package():
    """What the wheel holds as monitor/data is the folder data of the source tree."""
    assert (ROOT / "monitor" / "data").resolve() == (ROOT / "data").resolve()

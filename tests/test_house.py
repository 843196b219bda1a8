"""The house: folders import downwards only, files know no cycles, and none of either grows too large."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "tal_jax"
# From the top down: a folder imports from those after it only.
FOLDERS = (
    "commands", "demo", "experiments", "convert", "serving", "deploy", "detect", "train", "stages", "report", "plots",
    "evaluation", "recognition", "encoding", "encoders", "video", "prepare", "checks", "sensors", "data", "guarded",
    "tables", "devices", "tasks", "losses", "models", "ops",
)  # fmt: skip
# Single files, beneath all folders.
GROUND = {"segments", "windows", "errors", "types", "frames", "batch_layout", "bundled", "callable_module", "words",
          "version"}  # fmt: skip
ROOF = {"__init__", "__main__", "api"}  # single files above all folders, for users
LINES = 300  # of a file
# A file may be longer where its parts are one thing that would only be harder to read in two.
LONGER = {}
SHARE = 0.1  # of all lines, in one folder
OTHER_TESTS = {"support", "benchmarks"}  # folders of tests that are no folder of the house


@functools.cache
def imported(path: Path) -> frozenset[Path]:
    """The files of the house that a file imports, anywhere in it, also for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno}: a relative import: write tal_jax.FOLDER.FILE"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {file for name in names for file in (file_of(name),) if file is not None}
    return frozenset(found - {path})


def file_of(name: str) -> Path | None:
    """Where a dotted name of the house is defined; None for one of another package."""
    first, *parts = name.split(".")
    if first != "tal_jax":
        return None
    for length in range(len(parts), -1, -1):
        place = HOUSE.joinpath(*parts[:length])
        if length and place.with_suffix(".py").is_file():
            return place.with_suffix(".py")
        if (place / "__init__.py").is_file():
            return place / "__init__.py"
    return None


def room(path: Path) -> str:
    """The folder of a file, or the name of a single file."""
    return path.relative_to(HOUSE).with_suffix("").parts[0]


def depth(name: str) -> int:
    """Counted from the top; roof and ground are above and beneath all folders."""
    return -1 if name in ROOF else len(FOLDERS) if name in GROUND else FOLDERS.index(name)


def files() -> list[Path]:
    return sorted(HOUSE.rglob("*.py"))


def folders() -> list[Path]:
    return sorted(path for path in HOUSE.iterdir() if any(path.glob("*.py")))


def lines(paths) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def upward() -> Iterator[str]:
    for path in files():
        for other in sorted(imported(path)):
            here, there = room(path), room(other)
            if other == HOUSE / "__init__.py":  # for the version alone
                continue
            if here not in {there, *ROOF} and depth(there) <= depth(here) and not {here, there} <= GROUND:
                yield f"{path.relative_to(HOUSE)} imports {other.relative_to(HOUSE)}"


def cycle() -> list[str]:
    """A cycle of imports between files, or nothing."""
    done: set[Path] = set()

    def visit(path: Path, way: list[Path]) -> list[Path]:
        if path in way:
            return [*way[way.index(path) :], path]
        if path in done:
            return []
        for other in sorted(imported(path)):
            if found := visit(other, [*way, path]):
                return found
        done.add(path)
        return []

    for path in files():
        if room(path) not in ROOF and (found := visit(path, [])):
            return [str(step.relative_to(HOUSE)) for step in found]
    return []


def test_every_folder_and_file_has_its_place():
    assert {path.name for path in folders()} <= {*FOLDERS}
    assert {room(path) for path in files()} <= {*FOLDERS} | GROUND | ROOF


def test_imports_go_downwards_only():
    assert list(upward()) == []


def test_files_do_not_import_each_other_in_circles():
    assert cycle() == []


@pytest.mark.parametrize("folder", folders(), ids=lambda path: path.name)
def test_a_folder_says_its_subject(folder):
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert text
    assert text.splitlines()[0].endswith(".")


def test_no_folder_holds_more_than_a_tenth():
    total = lines(files())
    shares = {folder.name: lines(folder.rglob("*.py")) / total for folder in folders()}
    assert {name: f"{share:.1%}" for name, share in shares.items() if share > SHARE} == {}


def test_no_file_is_too_long():
    long = {str(path.relative_to(HOUSE)) for path in files() if lines([path]) > LINES}
    assert long - LONGER.keys() == set()
    assert LONGER.keys() - long == set(), "no longer exceptions: take them off the list"


def test_tests_mirror_the_house():
    tested = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert tested - OTHER_TESTS == {path.name for path in folders()}


def test_nobody_asks_which_task_it_is():
    """Tasks declare what they are: adding a method changes no other folder."""
    asks = re.compile(r"kind ==|isinstance\(.*Task\)|(BMN|TCANet|MGFN|Classifier|Trimmed|Joint)Task")
    named = HOUSE / "stages" / "methods.py"  # the one list of names
    found = [
        f"{path.relative_to(HOUSE)}: {line.strip()}"
        for path in files()
        if room(path) != "tasks" and path != named
        for line in path.read_text(encoding="utf-8").splitlines()
        if asks.search(line)
    ]
    assert found == []

"""What files import, from their text: our own rooms by their installed names, nothing that one system alone has."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("configs", "launch", "studies")  # a user may have folders of these names too
UNIX_ONLY = ("fcntl", "resource", "pwd", "grp", "termios")


def imported(tree):
    for node in tree:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def files(*folders):
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(found) > 20
    return found


def test_rooms_are_imported_as_parts_of_the_package():
    for path in files("tal_jax", *ROOMS):
        roots = {name.partition(".")[0] for name in imported(ast.walk(ast.parse(path.read_bytes())))}
        assert not roots & set(ROOMS), path


def test_nothing_of_unix_alone_is_imported_with_a_module():
    for path in files("tal_jax", "benchmarks", *ROOMS):
        assert not set(imported(ast.parse(path.read_bytes()).body)) & set(UNIX_ONLY), path

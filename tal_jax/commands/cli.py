"""The command `tal-jax NAME --flags`: runs a command of `launch/` with its own flags, or lists them all."""

import ast
import pkgutil
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from tal_jax.commands import allocation, endings
from tal_jax.words import nearest

PACKAGE = "tal_jax.launch"
HELP = ("help", "-h", "-help", "--help", "--helpfull", "--helpshort")


def main() -> None:
    """What the installed `tal-jax` and `python -m tal_jax` run; ends with the status of the command."""
    allocation.ask_for()
    if allocation.command_of(sys.orig_argv) is not None:
        endings.watch(at_once=True)
    name, *rest = sys.argv[1:] or ["--help"]
    if name in HELP:
        with endings.guarded():
            print(overview())
    elif name == "--version":
        import tal_jax

        print(f"tal_jax {tal_jax.__version__}")
    elif name not in (known := commands()):
        _refuse(name, known)
    else:
        sys.argv[1:] = rest
        # As `python -m` does: processes that the command spawns find its module by the name it has there.
        runpy.run_module(f"{PACKAGE}.{name}", run_name="__main__", alter_sys=True)


def commands() -> dict[str, Path]:
    """The file of every command by its name, in the order of the alphabet."""
    spec = find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    return {module.name: Path(folder) / f"{module.name}.py" for folder in folders for module in _modules(folder)}


def overview() -> str:
    """How `tal-jax` is called, and every command with the first line of its docstring."""
    found = {name: ast.get_docstring(ast.parse(path.read_bytes())) or "" for name, path in commands().items()}
    width = max(map(len, found), default=0)
    lines = [f"  {name:<{width}}  {text.partition(chr(10))[0]}" for name, text in found.items()]
    return "\n".join(
        ["usage: tal-jax NAME --flag=value ..", "", *lines, "", "tal-jax NAME --help says which flags a command has."]
    )


def _modules(folder: str) -> list[pkgutil.ModuleInfo]:
    return sorted(pkgutil.iter_modules([folder]), key=lambda module: module.name)


def _refuse(name: str, known: dict[str, Path]) -> NoReturn:
    hint = nearest(name, known) or "tal-jax --help lists them"
    print(f"tal-jax: error: no command {name!r}: {hint}", file=sys.stderr)
    sys.exit(2)

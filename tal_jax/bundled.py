"""Config and study files by path or by name, and what their `get_config` returns.

The package holds the files of `configs/` and `studies/`; a user's own lie anywhere.
"""

import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tal_jax.errors import InputError
from tal_jax.words import closest


def split_variant(text: str) -> tuple[str, tuple[str, ...]]:
    """Takes apart a file and what its `get_config` is called with: "weak_watch:full" -> ("weak_watch", ("full",))."""
    name, *variant = text.split(":", 1)
    return name, tuple(variant)


def locate(room: str, text: str) -> str:
    """The file that a path or a name means.

    A file that exists is meant by its path. A bare name ("weak_watch") is that of a file of the package; so is
    ROOM/NAME.py where no such file exists, as everywhere outside of a checkout.

    Args:
      room: "configs" or "studies".
      text: a path or a name, without a variant.

    Returns:
      The path of a file; `text` itself where it is one.

    Raises:
      InputError: there is no such file, and none of that name in the package; the text suggests the nearest.
    """
    path, files = Path(text), _files(room)
    bare = path.name == text and not path.suffix
    if bare and text in files:
        return str(files[text])
    if path.is_file():
        return text
    if path.parts == (room, f"{path.stem}.py") and path.stem in files:
        return str(files[path.stem])
    close = closest(path.stem, files)
    hint = f"did you mean {close}?" if close else f"the package has {', '.join(files)}"
    raise InputError(f"{text}: no such {'name' if bare else 'file'}: {hint}")


def call_get_config(where: str, path: str, *arguments: Any) -> Any:
    """What `get_config` of a file returns; whatever goes wrong in it becomes one line.

    Args:
      where: the beginning of that line.
      path: the path of the file.
      *arguments: the arguments of `get_config`: the variant, if there is one.

    Raises:
      InputError: the file cannot be run, or has no `get_config`.
    """
    try:
        return runpy.run_path(path)["get_config"](*arguments)
    except InputError:
        raise
    except KeyError as e:
        raise InputError(f"{where}: {path}: no {e.args[0]!r}: a config file defines get_config()") from e
    except (Exception, SystemExit) as e:
        raise InputError(f"{where}: {path}: {type(e).__name__}: {' '.join(str(e).split())}") from e


def load_config(path: str, *variant: str) -> ConfigDict:
    """The config that a file gives; it may be changed.

    Args:
      path: the path of the file.
      *variant: the variant, if there is one.

    Raises:
      InputError: the file cannot be run, or gives no config.
    """
    config = call_get_config("config", path, *variant)
    if not isinstance(config, ConfigDict):
        raise InputError(f"{path}: no config: let get_config() return an ml_collections.ConfigDict")
    return config


def _files(room: str) -> dict[str, Path]:
    """The package's files by name."""
    spec = find_spec(f"tal_jax.{room}")
    folders = [Path(folder) for folder in (spec.submodule_search_locations if spec is not None else None) or ()]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("[a-z]*.py"))}

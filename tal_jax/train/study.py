"""What a study is: changes of one config, seeds, and parts of the training recordings to hold out; its trainings."""

import dataclasses
import hashlib
import json
import re
import runpy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tal_jax.errors import InputError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=-]*")
VARIANT = "variant"  # the change that takes another variant of the config file
WHOLE = "all"  # the fold that holds nothing out


@dataclasses.dataclass(frozen=True)
class Study:
    """A table to be filled: every row is the config with some changes, trained with every seed on every fold."""

    config: str  # file
    rows: Mapping[str, Mapping[str, Any]]  # name -> dotted key -> value; "variant" -> of the config file
    seeds: tuple[int, ...] = (0, 1, 2)
    baseline: str = ""  # the row that others are compared with; "": the first
    folds: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # see `data.holdout_ids`; {}: none
    population: bool = False  # all seeds of a row in one program

    def __post_init__(self) -> None:
        """Raises InputError: names that cannot be folders, no rows or seeds, or no such baseline."""
        if not self.rows or not self.seeds:
            raise InputError(f"study of {self.config}: {'rows' if self.seeds else 'seeds'}: there are none")
        for name in (*self.rows, *self.folds):
            if not NAME.fullmatch(name):
                raise InputError(f"study of {self.config}: {name!r}: names are of letters, digits and _ . + = -")
        if self.reference not in self.rows:
            raise InputError(f"study of {self.config}: baseline {self.baseline!r}: the rows are {', '.join(self.rows)}")
        if self.population and self.seeds != tuple(range(self.seeds[0], self.seeds[0] + len(self.seeds))):
            raise InputError(f"study of {self.config}: seeds {self.seeds}: those of a population follow each other")

    @property
    def reference(self) -> str:
        """The baseline's name."""
        return self.baseline or next(iter(self.rows))

    def narrowed(self, rows: Sequence[str], seeds: Sequence[int]) -> "Study":
        """Some rows (and the baseline) and seeds alone; empty: all.

        Raises:
          InputError: a row that does not exist.
        """
        unknown = [row for row in rows if row not in self.rows]
        if unknown:
            raise InputError(f"--rows: no row {unknown[0]!r}: the rows are {', '.join(self.rows)}")
        kept = {name: row for name, row in self.rows.items() if not rows or name in {*rows, self.reference}}
        return dataclasses.replace(self, rows=kept, seeds=tuple(seeds) or self.seeds)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of a study: of one seed, or of a population of them."""

    row: str
    fold: str
    seeds: tuple[int, ...]
    config: dict[str, Any]  # plain nested values

    @property
    def folder(self) -> Path:
        """Relative to the study's workdir."""
        return Path(self.row) / self.fold / f"seed{self.seeds[0]}"

    @property
    def digest(self) -> str:
        """Of everything that its result depends on, but for where the data lie."""
        return digest(self.config)


def digest(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits of a config, which do not depend on where the data lie."""
    data = {k: v for k, v in config["data"].items() if k != "dir"}
    text = json.dumps({**config, "data": data}, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def load(path: str) -> Study:
    """The study that a file's `get_config` returns.

    Raises:
      InputError: no such file, or it holds no study.
    """
    if not Path(path).is_file():
        raise InputError(f"--config={path}: no such file: give one of studies/, or your own")
    get_config = runpy.run_path(path).get("get_config")
    study = get_config() if callable(get_config) else None
    if not isinstance(study, Study):
        raise InputError(f"--config={path}: no study: let get_config() return a tal_jax.train.study.Study")
    return study


def runs(study: Study, data: str) -> Iterator[Run]:
    """All trainings, row by row.

    Args:
      study: whose.
      data: prepared set.

    Raises:
      InputError: a row changes what its config does not have.
    """
    configs = {name: _changed(study.config, name, changes) for name, changes in study.rows.items()}
    groups = [study.seeds] if study.population else [(seed,) for seed in study.seeds]
    for row, config in configs.items():
        for fold, patterns in (study.folds or {WHOLE: ()}).items():
            for seeds in groups:
                own = ConfigDict(config)
                own.seed, own.data.dir = seeds[0], data
                own.data.holdout_ids = tuple(patterns)
                if study.population:
                    own.population = len(seeds)
                yield Run(row, fold, seeds, own.to_dict())


def _changed(path: str, row: str, changes: Mapping[str, Any]) -> ConfigDict:
    if not Path(path).is_file():
        raise InputError(f"study: config {path}: no such file")
    get_config = runpy.run_path(path)["get_config"]
    flat = {key: value for key, value in changes.items() if key != VARIANT}
    try:
        config = get_config(changes[VARIANT]) if VARIANT in changes else get_config()
        with config.ignore_type():  # checked with everything else when a stage is built
            config.lock().update_from_flattened_dict(flat)
    except (KeyError, AttributeError, TypeError, ValueError) as e:
        raise InputError(f"study: row {row} of {path}: {' '.join(str(e).split())}") from e
    return config

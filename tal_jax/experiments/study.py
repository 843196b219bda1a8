"""Studies: changes of one config, seeds, and parts of the training recordings to hold out; and their trainings."""

import dataclasses
import hashlib
import json
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tal_jax import bundled
from tal_jax.errors import InputError
from tal_jax.stages.config import RENAMED, with_defaults
from tal_jax.stages.workdir import flat, is_semantic
from tal_jax.words import nearest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=-]*")
VARIANT = "variant"  # the change that takes another variant of the config file
WHOLE = "all"  # the fold that holds nothing out
FIRST_NAMES = {new: old for old, new in RENAMED.items()}
YOUNGER_OPTIMIZER_KEYS = {"method": "adamw", "momentum": 0.9}  # than studies, with their defaults
# What the study itself sets, and what would measure rows on different recordings.
OWN = ("seed", "population", "learning_rates", "data.dir", "data.holdout_ids", "data.train_split", "data.eval_split")


@dataclasses.dataclass(frozen=True)
class Study:
    """A table to be filled; every row is the config with some changes, trained with every seed on every fold.

    population=True trains all seeds of a row in one program, for tracks of one stage: their parameters and dropout
    differ, the order of the data does not, so that they spread less than trainings of their own.
    """

    config: str  # path, or the name of one of the package
    rows: Mapping[str, Mapping[str, Any]]  # name -> dotted key -> value; "variant" -> of the config file
    seeds: tuple[int, ...] = (0, 1, 2)
    baseline: str = ""  # the row that others are compared with; "": the first
    folds: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # see `data.holdout_ids`; {}: none
    groups: str = ""  # regular expression: recordings in whose ids all of it finds the same are one person's; "": none
    population: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for anything that is no study."""
        where = f"study of {self.config}"
        try:
            seeds = tuple(operator.index(seed) for seed in self.seeds)
            object.__setattr__(self, "seeds", seeds)  # whatever sequence was given
            names = [*self.rows, *self.folds]
            keys = {row: [str(key) for key in changes] for row, changes in self.rows.items()}
        except TypeError as e:
            raise InputError(f"{where}: rows are dictionaries of dictionaries, seeds whole numbers ({e})") from e
        if not self.rows or not seeds:
            raise InputError(f"{where}: {'rows' if seeds else 'seeds'}: there are none")
        if len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**32 for seed in seeds):
            raise InputError(f"{where}: seeds {seeds}: each once, from 0 to 2^32 - 1")
        for name in names:
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise InputError(f"{where}: {name!r}: names are of letters, digits and _ . + = -")
        for fold, patterns in self.folds.items():
            if isinstance(patterns, str) or not patterns:
                raise InputError(f"{where}: fold {fold}: patterns of ids are expected, as in ('person1_*',)")
        for row, changed in keys.items():
            taken = [key for key in changed if key in OWN]
            if taken:
                raise InputError(f"{where}: row {row}: {taken[0]} is not for rows: all are trained and measured alike")
        if self.reference not in self.rows:
            raise InputError(f"{where}: baseline {self.baseline!r}: the rows are {', '.join(self.rows)}")
        try:
            re.compile(self.groups)
        except (re.error, TypeError, OverflowError) as e:
            raise InputError(f"{where}: groups {self.groups!r}: no regular expression ({e})") from e
        if self.population and seeds != tuple(range(seeds[0], seeds[0] + len(seeds))):
            raise InputError(f"{where}: seeds {seeds}: those of a population follow each other")

    @property
    def reference(self) -> str:
        """The name of the baseline's row."""
        return self.baseline or next(iter(self.rows))

    def narrowed(self, rows: Sequence[str], seeds: Sequence[int]) -> "Study":
        """The study of some rows and seeds alone; the baseline stays.

        Args:
          rows: names of rows; () keeps all.
          seeds: the seeds; () keeps all.

        Raises:
          InputError: there is no such row.
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
    fingerprint: str  # of the prepared set
    groups: str = ""  # the study's regular expression

    @property
    def folder(self) -> Path:
        """The folder of this training, relative to the study's workdir."""
        return Path(self.row) / self.fold / f"seed{self.seeds[0]}"

    @property
    def digest(self) -> str:
        """Ten hexadecimal digits of all that the result of this training depends on."""
        return digest(self.config, self.fingerprint)


def digest(config: Mapping[str, Any], fingerprint: str) -> str:
    """Ten hexadecimal digits of a config and a prepared set.

    Keys that only say how a training is watched or where data lie do not count, nor do those that are 0 or empty, nor
    what is younger than studies and has its default. Keys count under the names that they first had: a study goes on
    after a key is renamed.

    Args:
      config: the config as plain nested values.
      fingerprint: that of the prepared set.
    """
    told = {key: value for key, value in flat(config).items() if value and is_semantic(key)}
    values = {_first_name(key): value for key, value in told.items() if not _is_younger_default(key, value)}
    text = json.dumps([values, fingerprint], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _is_younger_default(key: str, value: Any) -> bool:
    section, _, name = key.rpartition(".")
    return section.endswith(".optimizer") and YOUNGER_OPTIMIZER_KEYS.get(name) == value


def _first_name(key: str) -> str:
    section, dot, name = key.rpartition(".")
    return f"{section}{dot}{FIRST_NAMES.get(name, name)}"


def load(path: str) -> Study:
    """The study that a file's `get_config` returns.

    Args:
      path: the path of a file, or the name of a study of the package.

    Raises:
      InputError: there is no such file, it fails, or it gives no study.
    """
    study = _called(f"--config={path}", "studies", path)
    if not isinstance(study, Study):
        raise InputError(f"--config={path}: no study: let get_config() return a tal_jax.experiments.study.Study")
    return study


def runs(study: Study, data: str, fingerprint: str) -> Iterator[Run]:
    """All trainings, row by row.

    Args:
      study: the study.
      data: the folder of the prepared set.
      fingerprint: that of the set.

    Yields:
      One run for every row, fold and seed; with a population one for every row and fold.

    Raises:
      InputError: a row changes a key that its config does not have, or a population would have to share a first stage.
    """
    configs = {name: _changed(study.config, name, changes) for name, changes in study.rows.items()}
    groups = [study.seeds] if study.population else [(seed,) for seed in study.seeds]
    for row, config in configs.items():
        if study.population and len(config.track) > 1:
            raise InputError(f"study: row {row}: a population trains one stage, not {', '.join(config.track)}")
        for fold, patterns in (study.folds or {WHOLE: ()}).items():
            for seeds in groups:
                own = ConfigDict(config)
                own.seed, own.data.dir, own.data.holdout_ids = seeds[0], data, tuple(patterns)
                if study.population:
                    own.population = len(seeds)
                yield Run(row, fold, seeds, own.to_dict(), fingerprint, study.groups)


def _changed(path: str, row: str, changes: Mapping[str, Any]) -> ConfigDict:
    where = f"study: row {row} of {path}"
    config = with_defaults(_called(where, "configs", path, *([changes[VARIANT]] if VARIANT in changes else [])))
    values = {key: value for key, value in changes.items() if key != VARIANT}
    known = flat(config.to_dict())
    for key in values:
        if not any(name == key or name.startswith(f"{key}.") for name in known):
            raise InputError(f"{where}: {key}: no such key: {nearest(key, known)}".rstrip(": "))
    try:
        config.lock().update_from_flattened_dict(values)
        json.dumps(flat(config.to_dict()))
        config.data.holdout_ids = tuple(config.data.holdout_ids)
    except (KeyError, AttributeError, TypeError, ValueError) as e:
        raise InputError(f"{where}: {' '.join(str(e).split())}") from e
    return config


def _called(where: str, room: str, path: str, *arguments: Any) -> Any:
    """What `get_config` of a file of the user's or of the package's room returns, see `bundled`."""
    try:
        found = bundled.locate(room, path)
    except InputError as e:
        raise InputError(f"{where}: {e}") from e
    return bundled.call_get_config(where, found, *arguments)

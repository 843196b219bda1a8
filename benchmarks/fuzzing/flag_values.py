"""Values of flags and configs: they mean what they say, or are refused with the nearest that could be meant."""

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks.fuzzing import Case, Wrong
from benchmarks.fuzzing.mutation import mutated_tree
from tal_jax.checks import ignored
from tal_jax.commands.synonyms import NAMES, rewritten
from tal_jax.errors import InputError
from tal_jax.evaluation.detection import parse_tiou
from tal_jax.prepare import plan, strides
from tal_jax.stages.config import default_config, parse, to_tree

KINDS = {"flag tiou": 15, "flag stride": 25, "flag labels": 10, "flag names": 10, "config": 25}
NUMBERS = ("0.5", "1", "2/3", "30000/1001", "0", "-1", "nan", "inf", "1e999", "", " 1 ", "1_0", "0,5", "٣", "0x1",
           "1/0", "1e-320", "true", "seconds", "1/2/3", "9" * 400, "½", "+2", ".5", "5.")  # fmt: skip


def number(text: str) -> float | None:
    """What a person means by it; None where that is not clear."""
    if not text.strip() or not set(text.strip()) <= set("0123456789.+-e"):
        return None
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) and found > 0 else None


def tiou_case(rng: random.Random, work: Path) -> None:
    """Thresholds."""
    if rng.random() < 0.5:
        n, step = rng.randrange(1, 12), rng.choice((0.05, 0.025, 0.01))
        first = round(rng.uniform(0.05, 0.4), 2)
        right = [first + i * step for i in range(n)]
        text = f"{first}:{right[-1]:.4g}:{step}" if rng.random() < 0.5 else ",".join(f"{x:.4g}" for x in right)
        try:
            found = parse_tiou(text)
        except InputError as e:
            raise Wrong(f"{text} was refused: {e}") from e
        if len(found) != n or not np.allclose(found, right, atol=1e-6):
            raise Wrong(f"{text} was read as {found}")
        return
    parts = [rng.choice((*NUMBERS, "0.5", "0.9", "0.05")) for _ in range(rng.randrange(1, 5))]
    text = rng.choice((":", ",")).join(parts)
    found = parse_tiou(text)
    if not ((found > 0) & (found <= 1)).all() or any(number(part) is None for part in parts):
        raise Wrong(f"{text!r} was read as {found}")


def stride_case(rng: random.Random, work: Path) -> None:
    """Seconds of snippets: a number, a word, or a file of lines id,stride."""
    text = rng.choice(NUMBERS)
    if rng.random() < 0.5:
        found: Any = strides.parse(text).one
        if number(text) is None or found != number(text):
            raise Wrong(f"--stride={text!r} was read as {found}")
        return
    separator, n = rng.choice((",", ";", "\t")), rng.randrange(1, 4)
    given = [(f"r{i}", rng.choice(("0.5", "0.04", "2", *NUMBERS))) for i in range(n)]
    lines = [*[separator.join(("id", "stride"))] * rng.randrange(2), *(separator.join(pair) for pair in given)]
    if rng.random() < 0.1:
        lines.append(lines[-1])
    path = work / "strides.csv"
    path.write_bytes(rng.choice(("\n", "\r\n")).join(lines).encode(rng.choice(("utf-8", "utf-8-sig"))))
    found = strides.parse(str(path)).listed
    for i, (id, value) in enumerate(given):
        if i == 0 and id not in found and not any(map(str.isdigit, value)):
            continue  # taken for a header: prepare says that its stride is missing
        above, _, below = value.partition("/")
        right = number(above) and (number(above) or 0) / (number(below) or 0) if below else number(value.strip())
        if right is None or not math.isclose(found[id], right):
            raise Wrong(f"{value!r} was read as {found[id]}")


def labels_case(rng: random.Random, work: Path) -> None:
    """--ignore_labels and NAME=VALUE."""
    if rng.random() < 0.4:
        given = [rng.choice(("rgb=a", "flow=b=c", "x=", "=x", "rgb", "a b=c", "跳=d", "", "rgb=a")) for _ in range(2)]
        if plan.pairs("features", given) != dict(x.split("=", 1) for x in given):
            raise Wrong(f"{given} was read otherwise")
        return
    labels = rng.sample(("a", "b, c", "跳", "x=y", 'say "go"', "d e"), rng.randrange(1, 4))
    cells = [f'"{x}"' if "," in x else x for x in labels if '"' not in x]
    text = rng.choice((",", ", ")).join(cells)
    if ignored.parse([text]) != tuple(x for x in labels if '"' not in x):
        raise Wrong(f"{text!r} was read as {ignored.parse([text])}")


def names_case(rng: random.Random, work: Path) -> None:
    """Other names of flags: each means its flag, and never two of them."""
    known = flags.FlagValues()
    for name in ("split", "annotations", "data", "workdir", "json", "blocked", "out"):
        flags.DEFINE_string(name, None, "", flag_values=known)
    given = [rng.choice((*NAMES, "split", "out", "annotations")) for _ in range(rng.randrange(1, 4))]
    argv = rewritten(["x", *(f"{rng.choice(('-', '--'))}{name}=v{i}" for i, name in enumerate(given))], known)
    values = [argument.partition("=")[2] for argument in argv[1:]]
    if values != [f"v{i}" for i in range(len(given))]:
        raise Wrong(f"{given} became {argv}")
    meant = {}
    for argument in argv[1:]:
        name, _, value = argument.lstrip("-").partition("=")
        if name in meant and given[int(meant[name][1:])] != given[int(value[1:])]:
            raise Wrong(f"{given}: two values of --{name} by two names")
        meant[name] = value


class Configs:
    """A whole config."""

    def __init__(self) -> None:
        self.tree = to_tree(parse(default_config(bmn="bmn", tcanet="tcanet").to_dict()))

    def case(self, rng: random.Random, work: Path) -> None:
        """What is accepted says the same again when it is written."""
        given = mutated_tree(self.tree, rng)
        if not isinstance(given, dict):
            return
        found = to_tree(parse(given))
        again = json.loads(json.dumps(to_tree(parse(found)), allow_nan=True))
        if json.dumps(found) != json.dumps(again) or found.keys() != self.tree.keys():
            raise Wrong("another config when it is read again")


def cases(folder: Path) -> dict[str, Case]:
    """Of single values, of names, and of configs."""
    return dict(zip(KINDS, (tiou_case, stride_case, labels_case, names_case, Configs().case), strict=True))

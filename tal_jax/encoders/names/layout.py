"""A released layout: which tensors of a file make up each parameter of a network, and how their axes stand.

Parameters have paths such as "layer1_0/conv2/conv/kernel" within "params" or "batch_stats". Released tensors have the
output channels first, and their modules' names, so a layout mostly is a function from paths of modules to names.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Tensors = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]  # of parameters, by path
Module = Callable[[str], str]  # the released name of a module by its path
TORCH = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


@dataclasses.dataclass(frozen=True)
class Rule:
    """One parameter, and the tensors that it is made of.

    The tensors of `parts` are joined along their first axis and turned to the order of ours by `axes`. With `layers`,
    that happens for every layer, whose number takes the place of {} in the names, and the results are stacked.
    """

    path: str
    parts: tuple[str, ...]
    shape: tuple[int, ...]  # of the parameter
    axes: tuple[int, ...]  # where the axes of the parameter (of one layer) stand in the tensors
    layers: int = 0
    stored: tuple[int, ...] | None = None  # the tensor's shape, where it has other axes than `axes` counts

    @property
    def names(self) -> list[str]:
        """All tensors of the rule."""
        if not self.layers:
            return list(self.parts)
        return [part.replace("{}", str(i)) for i in range(self.layers) for part in self.parts]

    def parameter(self, tensors: Tensors) -> np.ndarray:
        """The parameter, float32. Raises ValueError: a tensor is of another shape; says which it should have."""
        groups = [[part.replace("{}", str(i)) for part in self.parts] for i in range(max(self.layers, 1))]
        made = [self._one([tensors[name] for name in group]) for group in groups]
        return (np.stack(made) if self.layers else made[0]).astype(np.float32)

    def _one(self, parts: list[np.ndarray]) -> np.ndarray:
        ours = self.shape[1:] if self.layers else self.shape
        expected = [ours[self.axes.index(axis)] for axis in range(len(self.axes))]
        expected[0] //= len(parts)
        stored = self.stored or expected
        # Axes of length one come and go between releases: [O, I] for [O, I, 1, 1], [1, C] for [C].
        if any(_plain(x.shape) != _plain(stored) for x in parts):
            shapes = ", ".join(str(x.shape) for x in parts)
            raise ValueError(f"{self.names[0]} is {shapes} instead of {tuple(stored)}")
        joined = np.concatenate([x.reshape(expected) for x in parts]) if len(parts) > 1 else parts[0].reshape(expected)
        return np.ascontiguousarray(joined.transpose(self.axes))


def _plain(shape: Sequence[int]) -> list[int]:
    return [n for n in shape if n != 1]


def split(path: str) -> tuple[str, str, str]:
    """The block, the brick within it and the layer of a module's path; "" for the brick of "stem/conv"."""
    block, *parts, op = path.split("/")
    return block, "/".join(parts), op


def output_first(dimensions: int) -> tuple[int, ...]:
    """The axes of a kernel [*window, I, O] in a tensor [O, I, *window]."""
    return (*range(2, dimensions), 1, 0) if dimensions > 1 else (0,)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one code base names the tensors of a network.

    `module` gives the released name of a module by its path; `rules` takes the place of it where a layout is not so
    plain.
    """

    name: str  # for --family
    module: Module | None = None
    head: tuple[str, ...] = ()  # the names that the classifier's module has
    prefixes: tuple[str, ...] = ("",)  # of all names but the classifier's, one of them
    bare: tuple[str, ...] = ()  # modules whose names have no prefix
    leaves: Mapping[str, str] = dataclasses.field(default_factory=lambda: TORCH)
    dot: str = "."  # between module and leaf
    head_leaves: tuple[str, str] = ("weight", "bias")
    rules: Callable[[Shapes], list[Rule]] | None = None
    ignored: str = ""  # regular expression of whole names of tensors that no feature needs
    by_name_only: bool = False  # the names are also those of other networks: only read where --family says so

    def rules_for(self, shapes: Shapes, prefix: str) -> list[Rule]:
        """A rule for every parameter."""
        rules = (
            [self._rule(path, shape) for path, shape in shapes.items()] if self.rules is None else self.rules(shapes)
        )

        def named(part: str) -> str:
            return part if part.startswith(self.bare) else prefix + part

        return [dataclasses.replace(rule, parts=tuple(map(named, rule.parts))) for rule in rules]

    def _rule(self, path: str, shape: tuple[int, ...]) -> Rule:
        assert self.module is not None
        module, _, leaf = path.rpartition("/")
        name = f"{self.module(module)}{self.dot}{self.leaves[leaf]}"
        return Rule(path, (name,), shape, output_first(len(shape)))

    def head_names(self) -> list[tuple[str, str]]:
        """The names that kernel and bias of the classifier may have."""
        kernel, bias = self.head_leaves
        return [(f"{head}{self.dot}{kernel}", f"{head}{self.dot}{bias}") for head in self.head]

    def ignores(self, name: str) -> bool:
        """Whether a left-over tensor is known to be of no use here."""
        return bool(self.ignored) and re.fullmatch(self.ignored, name) is not None

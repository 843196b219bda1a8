"""Rules that name a state dict's tensors in this project's parameter trees, and move weights both ways exactly.

A rule only splits, transposes and drops axes of length one, so there and back again changes no bit. Parameters are
named by their path, "lgte1/query/kernel". Published tensors have the output channels O first, ours last.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

Tensors = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Rule:
    """One tensor and the parameters it holds.

    The tensor loses the axes of length one at the places `single`, is cut into as many equal parts along its first axis
    as there are parameters, and each has its axes permuted.
    """

    tensor: str
    parameters: tuple[str, ...]
    axes: tuple[int, ...] = (0,)  # where the parameter's axes stand in the tensor
    single: tuple[int, ...] = ()

    def to_parameters(self, tensor: np.ndarray) -> Tensors:
        """The parameters by path; the tensor has the shape that `to_tensor` gives."""
        x = np.squeeze(tensor, self.single)
        parts = np.split(x, len(self.parameters)) if len(self.parameters) > 1 else [x]
        return {p: x.transpose(self.axes).copy() for p, x in zip(self.parameters, parts, strict=True)}

    def to_tensor(self, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
        """The tensor out of parameters by path. Raises KeyError, ValueError: they are not there, or of other axes."""
        parts = [np.asarray(parameters[p]).transpose(np.argsort(self.axes)) for p in self.parameters]
        x = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return np.expand_dims(x, self.single).copy()


CONV1D = (2, 1, 0)  # [O, C / g, K] -> [K, C / g, O]
DENSE = (1, 0)  # [O, C] -> [C, O]


def layer(name: str, modules: str | Sequence[str], axes: tuple[int, ...], single: tuple[int, ...] = ()) -> list[Rule]:
    """`name`.weight and .bias of a layer, whose output channels are those of one module of ours or of several."""
    paths = (modules,) if isinstance(modules, str) else tuple(modules)
    return [
        Rule(f"{name}.weight", tuple(f"{p}/kernel" for p in paths), axes, single),
        Rule(f"{name}.bias", tuple(f"{p}/bias" for p in paths)),
    ]


def norm(name: str, module: str, single: tuple[int, ...] = ()) -> list[Rule]:
    """A layer norm."""
    parts = (("weight", "scale"), ("bias", "bias"))
    return [Rule(f"{name}.{theirs}", (f"{module}/{ours}",), single=single) for theirs, ours in parts]


def to_tensors(rules: Iterable[Rule], parameters: Mapping[str, np.ndarray]) -> Tensors:
    """A state dict's weights out of parameters by path. Raises as `Rule.to_tensor`."""
    return {rule.tensor: rule.to_tensor(parameters) for rule in rules}


def to_parameters(rules: Iterable[Rule], tensors: Mapping[str, np.ndarray]) -> Tensors:
    """Parameters by path out of a state dict that has every rule's tensor in its shape."""
    return {path: x for rule in rules for path, x in rule.to_parameters(tensors[rule.tensor]).items()}

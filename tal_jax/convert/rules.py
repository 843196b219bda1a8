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

    The tensor is cut into as many equal parts along its first axis as there are parameters; each loses its last `ones`
    axes, of length one, and has its other axes permuted.
    """

    tensor: str
    parameters: tuple[str, ...]
    axes: tuple[int, ...] = (0,)  # where the parameter's axes stand in the tensor
    ones: int = 0

    def to_parameters(self, tensor: np.ndarray) -> Tensors:
        """The parameters by path; the tensor has the shape that `to_tensor` gives."""
        x = tensor.reshape(tensor.shape[: tensor.ndim - self.ones])
        parts = np.split(x, len(self.parameters))
        return {p: np.ascontiguousarray(x.transpose(self.axes)) for p, x in zip(self.parameters, parts, strict=True)}

    def to_tensor(self, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
        """The tensor out of parameters by path. Raises KeyError, ValueError: they are not there, or of other axes."""
        parts = [np.asarray(parameters[p]).transpose(np.argsort(self.axes)) for p in self.parameters]
        x = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return np.ascontiguousarray(x).reshape(x.shape + (1,) * self.ones)


CONV1D = (2, 1, 0)  # [O, C / g, K] -> [K, C / g, O]
DENSE = (1, 0)  # [O, C] -> [C, O]


def layer(name: str, modules: str | Sequence[str], axes: tuple[int, ...], ones: int = 0) -> list[Rule]:
    """`name`.weight and .bias of a layer, whose output channels are those of one module of ours or of several."""
    paths = (modules,) if isinstance(modules, str) else tuple(modules)
    return [
        Rule(f"{name}.weight", tuple(f"{p}/kernel" for p in paths), axes, ones),
        Rule(f"{name}.bias", tuple(f"{p}/bias" for p in paths)),
    ]


def norm(name: str, module: str) -> list[Rule]:
    """A layer norm."""
    return [Rule(f"{name}.weight", (f"{module}/scale",)), Rule(f"{name}.bias", (f"{module}/bias",))]


def to_tensors(rules: Iterable[Rule], parameters: Mapping[str, np.ndarray]) -> Tensors:
    """A state dict's weights out of parameters by path. Raises as `Rule.to_tensor`."""
    return {rule.tensor: rule.to_tensor(parameters) for rule in rules}


def to_parameters(rules: Iterable[Rule], tensors: Mapping[str, np.ndarray]) -> Tensors:
    """Parameters by path out of a state dict that has every rule's tensor in its shape."""
    return {path: x for rule in rules for path, x in rule.to_parameters(tensors[rule.tensor]).items()}

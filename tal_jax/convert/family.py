"""What one PyTorch system's checkpoints of a model are: names, constants, and what its numerics need."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tal_jax.convert.rules import Rule


@dataclasses.dataclass(frozen=True)
class Family:
    """One system's layout of a model."""

    name: str
    method: str  # of the stage that holds such a model
    rules: tuple[Rule, ...]
    model: Mapping[str, Any]  # fields of the model that its numerics ask for
    options: Mapping[str, Any]  # and of its task
    widths: Mapping[str, tuple[str, ...]]  # fields that are as wide as these parameters
    constants: Mapping[str, Callable[[int], np.ndarray]]  # by tensor, of T
    may_lack: tuple[str, ...] = ()  # constants that not every version of the system stores
    as_long_as_frame: str = ""  # the model's field that is T
    first: str = "base1/kernel"  # the parameter whose channels are those of the features, in so many groups
    groups: int = 1

    def fitted(self, model: Mapping[str, Any]) -> "Family":
        """The layout of models with these fields; of most systems there is one alone."""
        del model
        return self

    def settings(self, snippets: int, tensors: Mapping[str, np.ndarray] | None = None) -> dict[str, dict[str, Any]]:
        """What a stage's section must say for a model of T snippets, with the widths of a checkpoint if given."""
        model = dict(self.model)
        if self.as_long_as_frame:
            model[self.as_long_as_frame] = snippets
        if tensors is not None:
            for field, parameters in self.widths.items():
                found = Counter(w for p in parameters if (w := self._width(p, tensors)))
                if found:  # of several, so that one wrong tensor is named and not the others
                    model[field] = found.most_common(1)[0][0]
            model |= self.sizes(tensors)
        return {"model": model, "options": dict(self.options)}

    def sizes(self, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Further fields of the model that a checkpoint tells."""
        del tensors
        return {}

    def channels(self, tensors: Mapping[str, np.ndarray]) -> int | None:
        """Channels of the features that a checkpoint is for; None where its first convolution does not say."""
        first = next(r.tensor for r in self.rules if r.parameters == (self.first,))
        return tensors[first].shape[1] * self.groups if first in tensors and tensors[first].ndim == 3 else None

    def _width(self, parameter: str, tensors: Mapping[str, np.ndarray]) -> int:
        rule = next(r for r in self.rules if parameter in r.parameters)
        shape = tensors[rule.tensor].shape if rule.tensor in tensors else ()
        return shape[0] // len(rule.parameters) if shape else 0

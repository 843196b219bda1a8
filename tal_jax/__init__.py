"""Temporal action localization in JAX/Flax: when something happens in a long recording, and what it is.

`encode`, `prepare`, `train`, `detect` and `evaluate` lead from videos, or feature files, to a table; `load` reads an
exported model; the models, the structs and the measures work without any config. Importing the package starts nothing:
each name is loaded when it is first used, and JAX with those that need it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tal_jax.api import detect, encode, evaluate, prepare, train
    from tal_jax.data.dataset import open_split
    from tal_jax.deploy import load
    from tal_jax.evaluation.detection import evaluate_detections
    from tal_jax.evaluation.proposals import evaluate_proposals
    from tal_jax.models.bmn import BMN
    from tal_jax.models.classifier import VideoClassifier
    from tal_jax.models.joint import Joint
    from tal_jax.models.mgfn import MGFN
    from tal_jax.models.tcanet import TCANet
    from tal_jax.ops.nms import soft_nms
    from tal_jax.segments import pairwise_iou
    from tal_jax.types import Batch, Detections

    __version__: str

__all__ = [
    "BMN", "MGFN", "Batch", "Detections", "Joint", "TCANet", "VideoClassifier", "detect", "encode", "evaluate",
    "evaluate_detections", "evaluate_proposals", "load", "open_split", "pairwise_iou", "prepare", "soft_nms", "train",
]  # fmt: skip

_ROOMS = ("prepare", "train", "detect")  # packages that may be called, see `callable_module`
_HOME = {
    "encode": "api",
    "evaluate": "api",
    "open_split": "data.dataset",
    "load": "deploy",
    "evaluate_detections": "evaluation.detection",
    "evaluate_proposals": "evaluation.proposals",
    "BMN": "models.bmn",
    "VideoClassifier": "models.classifier",
    "Joint": "models.joint",
    "MGFN": "models.mgfn",
    "TCANet": "models.tcanet",
    "soft_nms": "ops.nms",
    "pairwise_iou": "segments",
    "Batch": "types",
    "Detections": "types",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"tal_jax.{name}")
    if name == "__version__":
        from tal_jax.version import version

        value: Any = version()
    elif name in _HOME:
        value = getattr(importlib.import_module(f"tal_jax.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'tal_jax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})

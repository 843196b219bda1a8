"""Which keys the sections of a config may have."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from tal_jax.errors import InputError

CONFIG_KEYS = {
    "seed",
    "population",
    "learning_rates",
    "mesh",
    "track",
    "stages",
    "data",
    "checkpoint",
    "log_every_steps",
}
SHARED_DATA_KEYS = {
    "dir", "streams", "widths", "train_split", "eval_split", "holdout", "holdout_ids", "normalize", "triaxial",
}  # fmt: skip
STAGE_KEYS = {
    "task", "model", "options", "data", "optimizer", "steps", "batch_size", "eval_every_steps", "ema_decay",
    "accumulate", "proposals", "class_scores", "trimmed", "fusion", "regressor", "splice",
}  # fmt: skip
FRAMING_KEYS = ("mode", "snippets", "scale", "overlap", "keep", "longest_action", "max_snippets")
AUGMENTATION_KEYS = ("rotation", "half_turns", "gain", "shift", "noise")
DATA_KEYS = {
    *FRAMING_KEYS, *AUGMENTATION_KEYS, "proposals", "train_proposals", "min_seconds", "stride_jitter", "around_actions",
}  # fmt: skip


def checked(section: Mapping[str, Any], allowed: Any, where: str) -> dict[str, Any]:
    """The section as keyword arguments for a dataclass, or for a given set of names.

    Raises:
      InputError: a key the target does not know; suggests the nearest.
    """
    names = sorted(allowed if isinstance(allowed, (set, frozenset)) else _fields(allowed))
    for key in section:
        if key not in names:
            hint = nearest(key, names) or f"known keys: {', '.join(names)}"
            raise InputError(f"config: {where}.{key}: no such key: {hint}")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in section.items()}


def nearest(key: str, names: Iterable[str]) -> str:
    """Asks whether a known name much like `key` was meant; "" if there is none."""
    close = difflib.get_close_matches(key, list(names), 1)
    return f"did you mean {close[0]!r}?" if close else ""


def _fields(target: type) -> set[str]:
    return {f.name for f in dataclasses.fields(target) if f.name not in ("parent", "name", "model")}

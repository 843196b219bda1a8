"""The encoders by name: network, input and what is published of each.

Networks are functions that make them, so that looking at the list makes nothing.
"""

import functools
from collections.abc import Collection

from tal_jax import words
from tal_jax.encoders.catalogue_clips import CLIPS
from tal_jax.encoders.catalogue_images import IMAGES
from tal_jax.encoders.entry import Encoder
from tal_jax.errors import InputError

ENCODERS = (*IMAGES, *CLIPS)


@functools.cache
def _by_name() -> dict[str, Encoder]:
    return {encoder.name: encoder for encoder in ENCODERS}


def find(name: str) -> Encoder:
    """The encoder of a name. Raises InputError: there is none; suggests the nearest."""
    if name not in _by_name():
        raise InputError(f"--encoder={name}: no such encoder; {words.hint(name, _by_name(), 'there are')}")
    return _by_name()[name]


def names() -> Collection[str]:
    """All names."""
    return _by_name().keys()

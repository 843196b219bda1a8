"""Pickles, damaged and made of random instructions: what is read is arrays and plain values, in bounded work."""

import contextlib
import io
import pickle
import pickletools
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing import Case, Wrong
from benchmarks.fuzzing.mutation import mutated_bytes
from tal_jax.prepare import pickle_machine, safe_pickle

KINDS = {"pickle": 20, "pickle code": 20}
NAMES = (
    "numpy\nndarray", "numpy\ndtype", "numpy._core.multiarray\n_reconstruct", "numpy._core.multiarray\nscalar",
    "numpy._core.numeric\n_frombuffer", "_codecs\nencode", "collections\nOrderedDict", "torch\nFloatStorage",
    "torch._utils\n_rebuild_tensor_v2", "torch.storage\n_load_from_bytes", "torch\nSize", "os\nsystem",
    "builtins\neval",
)  # fmt: skip
PLAIN = (bool, int, float, str, bytes, bytearray, type(None), np.ndarray)


def good(rng: random.Random) -> Any:
    """What features are pickled as."""
    array = np.random.default_rng(rng.randrange(99)).normal(size=(5, 3)).astype(rng.choice(("<f4", ">f8", "f2", "i8")))
    return rng.choice(
        (array, {"features": array, "fps": 25.0}, array.tolist(), [array, (1, None, "x")], {"r1": [array]})
    )


def instruction(rng: random.Random) -> bytes:
    """A random one; lengths are short, or lie."""
    opcode = rng.choice(pickletools.opcodes)
    code = opcode.code.encode("latin-1")
    if opcode.arg is None:
        return code
    if opcode.name in ("GLOBAL", "INST"):
        return code + rng.choice(NAMES).encode() + b"\n"
    if opcode.name in ("BINGET", "BINPUT"):
        return code + bytes([rng.randrange(4)])
    if opcode.arg.n >= 0:
        return code + rng.randbytes(opcode.arg.n)
    if opcode.arg.n == pickletools.UP_TO_NEWLINE:
        return code + rng.choice((b"1", b"'x'", b"1.5", b"00", b"2L", b"9" * 5000, b"")) + b"\n"
    width = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT8U: 8}.get(opcode.arg.n, 4)
    text = rng.choice((b"", b"f4", b"latin1", b"<", bytes(12)))
    length = len(text) if rng.random() < 0.9 else rng.randrange(2 ** (8 * width - 1))
    return code + length.to_bytes(width, "little") + text


def damaged_case(rng: random.Random, work: Path) -> None:
    """A pickle of features in any protocol, with changes or without."""
    value = good(rng)
    data = pickle.dumps(value, rng.randrange(6))
    if changed := rng.random() < 0.9:
        data = mutated_bytes(data, rng)
    (work / "x.pkl").write_bytes(data)
    found = safe_pickle.read(work / "x.pkl")
    _plain(found)
    if not changed and repr(found) != repr(value):
        raise Wrong("other values than were written")


def random_case(rng: random.Random, work: Path) -> None:
    """Random instructions, some of them again and again, as bombs have them."""
    parts = [instruction(rng) for _ in range(rng.randrange(1, 12))]
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(parts))
        parts[at:at] = parts[at : at + 3] * rng.choice((2, 40, 2000))
    data = b"\x80\x04" + b"".join(parts) + b"."
    budget = pickle_machine.Budget(len(data))
    (work / "x.pkl").write_bytes(data)
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, struct.error):
        pickle_machine.run(io.BytesIO(data), {}, budget)
    if pickle_machine.STEPS - budget.steps > len(data):
        raise Wrong("more steps than bytes")
    _plain(safe_pickle.read(work / "x.pkl"))


def _plain(value: Any) -> None:
    seen: set[int] = set()
    left = [value]
    while left:
        node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            left += [*node, *node.values()]
        elif isinstance(node, list | tuple):
            left += node
        elif not isinstance(node, PLAIN) or (isinstance(node, np.ndarray) and node.dtype.hasobject):
            raise Wrong(f"a {type(node).__name__} was read")


def cases(folder: Path) -> dict[str, Case]:
    """Of damaged pickles, and of random ones."""
    return {"pickle": damaged_case, "pickle code": random_case}

"""A few random changes to bytes, and to the structure of JSON values."""

import copy
import json
import random
from typing import Any

TOKENS = [
    b"NaN", b"-Infinity", b"1e999", b"null", b"true", b"-1", b"[]", b"{}", b'""', b'"training"', b"[[[[[[", b"\\ud800",
    b"\xff",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, -1, 0, 1e308, 2**80, float("nan"), "", "training", "x" * 300, "a/b", "\ud800", [], {}, [[]], [1],
    [3, 1], [0, 1, 2], {"segment": [0, 1]}, {"label": ""},
]  # fmt: skip


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few changes to raw bytes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(out) + 1)
        size = rng.choice((1, 1, 4, 16, 200))
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at : at + size]
        elif kind == 2:
            out[at:at] = rng.randbytes(size)
        elif kind == 3:
            out[at:at] = out[at : at + size]
        elif kind == 4:
            del out[at:]
        else:
            out[at : at + size] = rng.choice(TOKENS)
    return bytes(out)


def mutated_tree(tree: Any, rng: random.Random) -> Any:
    """A few changes to the structure of JSON values."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.choice((1, 1, 2, 4))):
        node, path = tree, []
        while isinstance(node, dict | list) and node and (not path or rng.random() < 0.8):
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            path.append((node, key))
            node = node[key]
        if not path:
            continue
        parent, key = path[-1]
        kind = rng.randrange(4)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[rng.choice(("", "x", "../x", "a\nb", key + " "))] = parent.pop(key)
        elif kind == 2 and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            parent[key] = copy.deepcopy(rng.choice(VALUES))
    return tree

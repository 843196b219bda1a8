"""How the time of local attention grows with T: python -m benchmarks.growth prints it as JSON, for benchmarks.run."""

import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import ATTENTION_LENGTHS
from benchmarks.inputs import attention_inputs
from tal_jax.ops.attention import local_attention

ROUNDS = 15


def attention(q: Any, k: Any, v: Any) -> Any:
    """The form that `local_attention` chooses, W = 9."""
    return local_attention(q, k, v, jnp.ones((1, q.shape[1]), bool), window=9, scale=0.125)


def main() -> None:
    """Medians at every T, forward and with gradients."""
    steps = {
        "forward_seconds": jax.jit(attention),
        "gradient_seconds": jax.jit(jax.grad(lambda q, k, v: jnp.sum(attention(q, k, v) ** 2), argnums=(0, 1, 2))),
    }
    inputs = {t: jax.device_put(attention_inputs(t)) for t in ATTENTION_LENGTHS}
    times: dict[str, dict[int, list[float]]] = {key: {t: [] for t in inputs} for key in steps}
    for _ in range(ROUNDS):  # all lengths in turn: a busy moment does not fall on one of them
        for t, arrays in inputs.items():
            for key, step in steps.items():
                jax.block_until_ready(step(*arrays))
                begin = time.perf_counter()
                jax.block_until_ready(step(*arrays))
                times[key][t].append(time.perf_counter() - begin)
    medians = {key: [float(np.median(found)) for found in by_length.values()] for key, by_length in times.items()}
    print(json.dumps({"snippets": list(inputs), **medians}))


if __name__ == "__main__":
    main()

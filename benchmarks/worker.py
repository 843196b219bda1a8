"""One side of one case in a process of its own: takes a step whenever it is asked to.

python -m benchmarks.worker SIDE CASE    with SIDE jax, torch or compile; used by benchmarks.run

For each line on stdin it takes a step and prints its seconds; at the end of stdin it prints its peak memory in bytes.
"""

import json
import os
import sys
import time

from tal_jax.devices.memory import process_peak_bytes

THREADS = 2


def main(side: str, name: str) -> None:
    """Makes the step, takes one to warm up, says so, then obeys."""
    from benchmarks.cases import CASES

    case = next(c for c in CASES if c.name == name)
    begin = time.perf_counter()
    scale = 1.0
    if side == "jax":
        os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
        from benchmarks import jax_side
        from tal_jax.devices.compilation import use_cache

        use_cache()  # as every command does
        step = jax_side.MAKERS[case.kind](**case.sizes)
    else:
        import torch

        from benchmarks import torch_side

        torch.set_num_threads(THREADS)
        torch.manual_seed(0)
        step = torch_side.MAKERS[case.kind](**case.sizes, compiled=side == "compile")
        scale = torch_side.SCALE.get(case.kind, lambda sizes: 1.0)(case.sizes)
    step()
    print(json.dumps({"ready": time.perf_counter() - begin}), flush=True)
    for _ in sys.stdin:
        if case.kind == "records":
            from benchmarks.inputs import forget, records

            forget(records(**case.sizes)[0 if side == "jax" else 1])
        begin = time.perf_counter()
        step()
        print(json.dumps({"seconds": scale * (time.perf_counter() - begin)}), flush=True)
    print(json.dumps({"peak_bytes": process_peak_bytes()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

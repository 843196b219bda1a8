"""The cost of a stage's real steps on a TPU topology, from compiling them on a machine that has none: do they fit?"""

import importlib.util
import math
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from tal_jax.devices.compilation import no_cache
from tal_jax.devices.mesh import by_row, replicated
from tal_jax.errors import InputError
from tal_jax.experiments.step_cost import STEPS
from tal_jax.experiments.synthetic import data_sizes, prediction_batch, synthetic_batch, synthetic_task
from tal_jax.experiments.tpu_cycles import cycles
from tal_jax.ops.model_axis import DATA, MODEL
from tal_jax.stages.config import parse
from tal_jax.stages.plan import section_of
from tal_jax.stages.sections import Config
from tal_jax.tasks.task import Task
from tal_jax.train.optimizer import build_optimizer
from tal_jax.train.population import make_program
from tal_jax.types import Batch

MEMORY = {"v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}  # GiB of a chip, as Google's documentation has them
CHANNELS = 2304  # of features, where nothing is said: SlowFast's
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


def devices_of(topology: str) -> tuple[list[Any], float]:
    """The devices of a topology such as "v5e:16x16", and the bytes of memory of each.

    Raises:
      InputError: libtpu is not installed, or knows no such topology.
    """
    name, _, shape = topology.partition(":")
    if name not in MEMORY or not re.fullmatch(r"\d+(x\d+){1,2}", shape):
        raise InputError(f"--topology={topology}: give one of {', '.join(MEMORY)} and its shape, such as v5e:16x16")
    if importlib.util.find_spec("libtpu") is None:
        raise InputError("libtpu is not installed: pip install libtpu")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no metadata server to ask
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # nor a TPU that only one process may use
    try:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except (ValueError, RuntimeError) as e:
        raise InputError(f"--topology={topology}: {str(e).splitlines()[0]}") from e
    chips = math.prod(map(int, shape.split("x")))
    return list(devices), MEMORY[name] * 2**30 * chips / len(devices)


def compile_for(
    config: Config | Mapping[str, Any],
    stage: str,
    topology: str,
    *,
    classes: int,
    rows: int = 0,
    snippets: int = 0,
    channels: int = 0,
    proposals: int = 0,
) -> dict[str, Any]:
    """Compiles the training and the prediction step of a stage, batches split over all devices of the topology.

    Args:
      config: the config as plain nested values.
      stage: the stage's name.
      topology: a kind of TPU and its grid of chips, such as "v5e:16x16".
      classes: K.
      rows: B of the global batch; 0 takes the stage's batch size, or one row a device where that is more.
      snippets: T of the frame; 0 takes the stage's.
      channels: C of all streams together; 0 takes `CHANNELS`.
      proposals: P of a recording; 0 takes as many as the stage trains with.

    Returns:
      `fits`, `memory_bytes` of a device, `kept_bytes` of a row (see `kept_bytes`), and for `train` and `predict`: bytes
      a device needs, operations and bytes moved (of a device, as XLA counts them: the body of a loop counts once), the
      compiler's estimate of the seconds (see `tpu_cycles`; loops count as often as they run), how many collectives of
      which kind, seconds of compiling.

    Raises:
      InputError: there is no such stage or topology, the config does not fit, or libtpu is not installed.
    """
    devices, memory = devices_of(topology)
    config = parse(config)
    model = config.mesh.model
    if len(devices) % model:
        raise InputError(f"config: mesh.model {model} does not divide {len(devices)} devices")
    mesh = Mesh(np.asarray(devices).reshape(-1, model), (DATA, MODEL))
    section = section_of(config, stage)
    data, across = section.data, mesh.shape[DATA]
    usual = {
        "snippets": data.snippets or data.max_snippets,
        "channels": CHANNELS,
        "proposals": data.train_proposals or data.proposals,
    }
    sizes = data_sizes(config, stage, usual, snippets=snippets, channels=channels, classes=classes, proposals=proposals)
    proposals = sizes.pop("proposals")
    rows = rows or max(section.batch_size, across)
    if rows % across:
        raise InputError(f"--batch_size={rows}: does not divide over {across} devices")
    with jax.set_mesh(mesh), no_cache():
        task, section = synthetic_task(config, stage, **sizes)
        batch = synthetic_batch(task, 1, proposals=proposals, **sizes)
        shaped, predicted = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype),
            (batch, prediction_batch(task, section, batch)),
        )
        optimizer, _ = build_optimizer(section.optimizer, STEPS)
        program = make_program(
            task, optimizer, mesh, batch, seed=0, ema_decay=section.ema_decay, steps=STEPS,
            accumulate=section.accumulate,
        )  # fmt: skip
        state = jax.eval_shape(program.init)
        kept = kept_bytes(task, state.params, shaped) // rows
        predict = jax.jit(task.predict, in_shardings=(replicated(mesh), by_row(mesh)), out_shardings=by_row(mesh))
        found = {
            "train": compiled(topology, program.step, state, shaped),
            "predict": compiled(topology, predict, state.params, predicted),
        }
    return {
        "stage": stage,
        "topology": topology,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "batch": rows,
        **sizes,
        "proposals": shaped.proposals.shape[1],
        "kept_bytes": kept,
        "memory_bytes": int(memory),
        "fits": all(step["bytes"] <= memory for step in found.values()),
        **found,
    }


def kept_bytes(task: Task, params: Any, batch: Batch) -> int:
    """What the forward pass of training keeps for the gradients, before the compiler changes anything; by shapes alone.

    Args:
      task: its loss is differentiated.
      params, batch: shapes are enough.
    """

    def backward(params: Any, batch: Batch) -> Any:
        return jax.vjp(lambda params: task.loss(params, batch, jax.random.key(0)), params, has_aux=True)[1]

    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(jax.eval_shape(backward, params, batch)))


def compiled(topology: str, step: Any, *arguments: Any) -> dict[str, Any]:
    """Compiles a jitted function for arguments of these shapes; returns its figures as `compile_for` has them.

    `loop_share` is that of innermost loops in the estimate.
    """
    begin = time.perf_counter()
    try:
        program = step.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as e:
        # The compiler itself refuses what does not fit; its message says what would be needed.
        if "RESOURCE_EXHAUSTED" not in str(e):
            raise
        needed = re.search(r"(?:Used|\() ?([\d.]+)([KMGT])\b", str(e))
        size = int(float(needed[1]) * 1024 ** " KMGT".index(needed[2])) if needed else sys.maxsize
        return {"bytes": size, "compile_seconds": time.perf_counter() - begin}
    memory, cost = program.memory_analysis(), program.cost_analysis() or {}
    text = program.as_text()
    expected = cycles(text)
    inside = sum(loop.runs * loop.cycles for loop in expected.loops)
    collectives = {name: len(re.findall(rf" {name}(?:-start)?\(", text)) for name in COLLECTIVES}
    return {
        "bytes": memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "flops": float(cost.get("flops", 0.0)),
        "bytes_moved": float(cost.get("bytes accessed", 0.0)),
        "estimated_seconds": expected.seconds(topology.partition(":")[0]),
        "loop_share": inside / expected.total if expected.total else 0.0,
        "endless_loops": expected.endless,
        "collectives": {name: count for name, count in collectives.items() if count},
        "compile_seconds": time.perf_counter() - begin,
    }


def lines(found: Mapping[str, Any], title: str, steps: Sequence[str]) -> list[str]:
    """The lines of a small table.

    Args:
      found: what was compiled: the topology, its devices and their memory, and by name the figures of `compiled`.
      title: of what they are.
      steps: the names.
    """
    gib = found["memory_bytes"] / 2**30
    out = [
        f"{title}: {found['devices']} devices ({found['device']}) of {gib:.0f} GiB",
        f"  {'':<8} {'GiB':>7} {'of it':>8} {'GFLOP':>9} {'GB moved':>9} {'estimate':>10} {'compiled':>9}  collectives",
    ]
    for name in steps:
        step = found[name]
        share = step["bytes"] / found["memory_bytes"]
        if "flops" not in step:
            out.append(f"  {name:<8} {step['bytes'] / 2**30:>7.2f} {share:>7.0%}  does not fit")
            continue
        spread = ", ".join(f"{n} {k}" for k, n in step["collectives"].items()) or "none"
        estimate = f"{1e3 * step['estimated_seconds']:.2f} ms" if step["estimated_seconds"] > 0 else "-"
        out.append(
            f"  {name:<8} {step['bytes'] / 2**30:>7.2f} {share:>8.1%} {step['flops'] / 1e9:>9.1f} "
            f"{step['bytes_moved'] / 1e9:>9.2f} {estimate:>10} {step['compile_seconds']:>7.0f} s  {spread}"
        )
        if step["endless_loops"]:
            out.append(
                f"  {'':<8} the estimate counts {step['endless_loops']} loops once, which end when they are done"
            )
    return out

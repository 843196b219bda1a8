"""What cases of workdirs and exports share: two tiny sets of the same recordings, two trainings, and an export."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.deploy.export import export
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.stages.config import default_config
from tal_jax.train.loop import train_and_evaluate

STRIDE, WIDTH = 0.5, 3


def make_set(folder: Path, seed: int) -> Path:
    """A prepared set of six recordings, whose numbers depend on the seed, and nothing else."""
    if (folder / "data").exists():
        return folder / "data"
    rng = np.random.default_rng(seed)
    (folder / "features").mkdir(parents=True)
    database = {}
    for i in range(6):
        x = rng.normal(0, 1, (20 + i, WIDTH)).astype(np.float32)
        np.save(folder / "features" / f"r{i}.npy", x)
        segments = [{"segment": [s, s + 3.0], "label": label} for s, label in ((1.0, "a"), (5.0, "b"))]
        subset = "training" if i < 4 else "validation"
        database[f"r{i}"] = {"subset": subset, "duration": len(x) * STRIDE, "annotations": segments}
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    features = {"imu": str(folder / "features")}
    options = Options(str(folder / "annotations.json"), features, str(STRIDE), str(folder / "data"), dtype="float32")
    prepare(dataclasses.replace(options, workers=1))
    return folder / "data"


def config(data: Path, seed: int = 0) -> dict[str, Any]:
    """A track of two stages, as small as they can be."""
    found = default_config(bmn="bmn", tcanet="tcanet")
    found.data.update(dir=str(data), normalize=True)
    found.update(seed=seed, log_every_steps=1)
    found.checkpoint.every_steps = 2
    for stage in (found.stages.bmn, found.stages.tcanet):
        stage.update(batch_size=4, steps=2, eval_every_steps=0)
        stage.data.update(mode="resize", snippets=8, rotation=0.1)
    found.data.triaxial = ("imu",)
    found.stages.bmn.model.update(hidden=4, proposal_hidden=4, map_hidden=4, map_conv_hidden=4, bins=2, groups=1)
    found.stages.bmn.options.update(candidates=10, proposals=4)
    found.stages.tcanet.data.update(proposals=4, train_proposals=4)
    found.stages.tcanet.model.update(
        hidden=8, ffn=8, heads=2, local_heads=1, window=3, encoders=1, stages=1, groups=1, regressor_hidden=8,
        frame_hidden=4, context=4, inside=8,
    )  # fmt: skip
    found.stages.tcanet.options.update(thresholds=(0.5,), confidence_stages=(0,), candidates=8, detections=4)
    return found.to_dict()


def make(folder: Path) -> Path:
    """Two trainings on two sets of the same ids and sizes, and an export of the first, unless they are there."""
    use_cache(folder)
    if (folder / "model").exists():
        return folder
    for seed, name in enumerate(("one", "two")):
        data = make_set(folder / f"set_{name}", seed)
        train_and_evaluate(config(data, seed), folder / name)
    export(folder / "one", folder / "model")
    return folder


def use_cache(folder: Path) -> None:
    """Programs are compiled once for all processes."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def facts(x: Any, home: Path) -> Any:
    """Values that can be compared: arrays by their bytes, structs by their fields, paths without their folder."""
    if isinstance(x, np.ndarray) or hasattr(x, "__array__"):
        array = np.asarray(x)
        return array.dtype.str, array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return {f.name: facts(getattr(x, f.name), home) for f in dataclasses.fields(x)}
    if isinstance(x, Mapping):
        return {key: facts(x[key], home) for key in x}
    if isinstance(x, list | tuple):
        return [facts(value, home) for value in x]
    if isinstance(x, str | Path):
        return str(x).replace(str(home), "")
    return x if isinstance(x, int | float | bool | type(None)) else repr(x)

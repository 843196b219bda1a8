"""The encoder of an exported model, written: a program from images of bytes to features, weights and sampling."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from tal_jax.data import atomic, provenance
from tal_jax.deploy import model_folder as layout
from tal_jax.deploy.stablehlo import flat, nested, serialized
from tal_jax.deploy.video_encoder import DESCRIPTION, HOME, PROGRAM, WEIGHTS
from tal_jax.encoding.on_devices import pooled
from tal_jax.encoding.packing import Packing
from tal_jax.encoding.plan import Options, Plan, variables_of
from tal_jax.encoding.plan import plan as plan_encoding
from tal_jax.errors import InputError
from tal_jax.types import Array

__all__ = ["HOME", "add", "plan", "write"]
CLIPS = 8  # of a batch: a device that runs a service keeps room for its stages


def add(model: str | Path, out: str | Path, *, weights: str, encoder: str = "", family: str | None = None) -> Path:
    """Writes an exported model once more, with the encoder of the features that it was trained on.

    Args:
      model: the folder of a model without an encoder.
      out: the folder to be made; an earlier export there is replaced when the new one is complete.
      weights: the file of the encoder's weights.
      encoder: the encoder's name; "" is that of the features.
      family: see `plan.Options`.

    Returns:
      The path `out`.

    Raises:
      InputError: `model` is none, or has an encoder already, or `out` holds something else than an export; or see
        `plan`.
    """
    model, out = Path(model), Path(out)
    values = layout.read_model(model)
    if "encoder" in values:
        raise InputError(f"{model}: has an encoder already: it detects in videos as it is")
    layout.check_free(out)
    known = values.get("encoders", {})
    planned = plan(str(model), {name: known.get(name) for name in values["streams"]}, weights, encoder, family)
    with atomic.making(out) as temporary:
        shutil.copytree(model, temporary, dirs_exist_ok=True)
        values["encoder"] = write(temporary / HOME, planned)
        (temporary / layout.MODEL).write_text(json.dumps(values, indent=1))
        layout.seal(temporary)
    return out


def plan(trained: str, encoders: Mapping[str, Any], weights: str, encoder: str, family: str | None) -> Plan:
    """The plan of the very features that a stage or a model was trained on.

    Args:
      trained: its name, for messages.
      encoders: of each of its streams the identity, see `data.provenance`; None where nothing is known.
      weights: the file of the encoder's weights.
      encoder: the encoder's name; "" is that of the features.
      family: see `plan.Options`.

    Raises:
      InputError: features of several encoders, or of none that is known, or of another than the weights are.
    """
    if len(encoders) != 1:
        raise InputError(f"{trained}: learns from {', '.join(encoders)}; a model of videos has one stream")
    ((stream, known),) = encoders.items()
    if known is None:
        raise InputError(
            f"{trained}: no {provenance.NAME} said of stream {stream!r} what its features are: encode videos with "
            "launch.encode, prepare and train anew"
        )
    made = plan_encoding(
        Options(
            videos="",
            out="",
            encoder=encoder or known["encoder"],
            weights=weights,
            family=family,
            rate=known["rate"] if isinstance(known["rate"], int | float) else None,
            own_rate=not isinstance(known["rate"], int | float),
            stride=known["stride"],
            interval=known["interval"],
            crop=known["preprocessing"].get("crop", "centre"),
            times=provenance.times(known),
        )
    )
    if made.encoder.sees_flow:
        raise InputError(f"{trained}: learns from optical flow: models of videos have an encoder of images")
    if differ := provenance.differences(made.identity, known):
        other = made.identity["weights"] != known["weights"]
        again = f"; if {weights} should be them, download it again" if other else ""
        raise InputError(
            f"{trained}: trained on features of another kind: {differ}: give that encoder and weights{again}"
        )
    return made


def write(home: Path, planned: Plan, dtype: str = "float32") -> dict[str, Any]:
    """Writes an encoder into a folder that is made, and returns what the model's description says of it.

    Args:
      home: the folder to make.
      planned: encoder, weights and sampling.
      dtype: what the network computes in.
    """
    home.mkdir()
    encoder, packing = planned.encoder, Packing.of(planned.sampling, CLIPS)
    network = encoder.network(jnp.dtype(dtype))
    arrays = {name: np.asarray(x, order="C") for name, x in flat(variables_of(planned)).items()}

    def program(weights: dict[str, Array], images: Array, index: Array) -> Array:
        return pooled(network, encoder.preprocessing, nested(weights), images, index)

    side, crops = encoder.side, encoder.preprocessing.crops
    written = serialized(
        program,
        {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in arrays.items()},
        jax.ShapeDtypeStruct((packing.images, crops, side, side, 3), jnp.uint8),
        jax.ShapeDtypeStruct((packing.clips, planned.sampling.images), jnp.int32),
    )
    (home / PROGRAM).write_bytes(written)
    save_file(arrays, home / WEIGHTS)
    (home / DESCRIPTION).write_text(
        json.dumps({"features": planned.identity, "dtype": dtype, "clips": CLIPS}, indent=1)
    )
    return {"name": encoder.name, "width": encoder.width}

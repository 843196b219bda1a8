"""Prepared sets and folders of stages as older versions wrote them, or as anybody may change them."""

import json

from tal_jax.data import dataset


def unseal(folder, **metadata):
    """Makes a set one of before there were seals, in place; `metadata` takes the place of its own."""
    (folder / "seal.json").unlink()
    path = folder / "metadata.json"
    values = json.loads(path.read_text())["tal_jax"] | {"version": dataset.UNSEALED} | metadata
    del values["crc32c"]
    if len(set(values.get("dtypes", {}).values())) == 1 and "dtypes" not in metadata:
        values["dtype"] = next(iter(values.pop("dtypes").values()))
    path.write_text(json.dumps({"tal_jax": dataset.sealed(values)}))
    return folder


def unseal_stage(folder):
    """Makes what a stage remembers that of before there were seals, in place."""
    (folder / "seal.json").unlink()
    path = folder / "data.json"
    values = json.loads(path.read_text())
    assert values.pop("sealed")
    path.write_text(json.dumps(values))
    return folder

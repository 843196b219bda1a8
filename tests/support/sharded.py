"""Parameters copied to, and a batch split over, the four virtual devices."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def on_four_devices(params, batch):
    """Both on a mesh of four devices; the batch holds a multiple of four recordings."""
    mesh = Mesh(np.asarray(jax.devices()[:4]), ("data",))
    assert mesh.size == 4
    rows = NamedSharding(mesh, PartitionSpec("data"))
    return jax.device_put(params, NamedSharding(mesh, PartitionSpec())), jax.device_put(batch, rows)

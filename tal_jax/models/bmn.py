"""BMN, the boundary-matching network that makes the proposals (Lin et al. 2019, arXiv:1907.09702)."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32

from tal_jax.models.convolution import Conv1D, masked
from tal_jax.ops.boundary_matching import boundary_matching, by_duration, by_end, valid_cells
from tal_jax.ops.model_axis import split_over_model
from tal_jax.types import Array


@flax.struct.dataclass
class BMNOutput:
    """Logits of the boundary heads and of the boundary-matching map."""

    start: Float32[Array, "B T"]
    end: Float32[Array, "B T"]
    regression: Float32[Array, "B T D"]  # sigmoid is the cell's predicted IoU
    classification: Float32[Array, "B T D"]  # sigmoid is the probability that the IoU exceeds 0.9
    valid: Bool[Array, "B T D"]  # cells whose segment [t, t + d + 1) lies within the recording


class DenseWeights(nn.Module):
    """The parameters of a fully connected layer, as `nn.Dense` makes them."""

    features: int

    @nn.compact
    def __call__(
        self, inputs: int
    ) -> tuple[Float32[Array, "{inputs} {self.features}"], Float32[Array, "{self.features}"]]:
        """Kernel and bias."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (inputs, self.features))
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


def map_head(
    params: tuple[Float[Array, "H"], Float[Array, "H O"], Float[Array, "O"]], cells: Float[Array, "*cells H"]
) -> Float[Array, "*cells O"]:
    """The matching layer's bias and ReLU, and the 1 x 1 convolution after it."""
    bias, kernel, out_bias = params
    trailing = (1,) * (cells.ndim - 1)
    return nn.relu(cells + bias.reshape(*trailing, -1)) @ kernel + out_bias.reshape(*trailing, -1)


class BMN(nn.Module):
    """Base convolutions, a start and an end head, and the boundary-matching map over (start t, duration d).

    masked_cells=True keeps padding and invalid cells out of the map's 3 x 3 convolutions, so that padding changes
    nothing; False is the published behaviour. map_layout="": those convolutions see neighbouring starts and durations;
    "start_end": neighbouring starts and ends, as in JJBOY's port; cells with end < start are like those beyond the end.
    """

    durations: int = 100  # D
    hidden: int = 256
    proposal_hidden: int = 128  # P in the boundary-matching layer
    map_hidden: int = 512
    map_conv_hidden: int = 128
    groups: int = 4
    bins: int = 32
    points: int = 3
    masked_cells: bool = True
    sampling: str = ""  # of the boundary-matching layer, see `ops.boundary_matching`
    map_layout: str = ""
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: Float[Array, "B T C"], mask: Bool[Array, "B T"]) -> BMNOutput:
        """Logits of boundaries and of cells, from features and what of them is real."""
        if self.map_layout not in ("", "start_end"):
            raise ValueError(f"map_layout is '' or 'start_end', not {self.map_layout!r}")
        if self.map_layout and self.durations != features.shape[1]:
            raise ValueError(
                f"map_layout='start_end' needs as many durations as snippets: {self.durations}, {features.shape[1]}"
            )

        def conv(name: str, width: int, kernel: int, groups: int) -> Conv1D:
            return Conv1D(width, kernel, groups=groups, dtype=self.dtype, name=name)

        x = masked(features.astype(self.dtype), mask)
        # The first convolution is grouped only where the input's channels allow it.
        groups_in = self.groups if x.shape[-1] % self.groups == 0 else 1
        x = masked(nn.relu(conv("base1", self.hidden, 3, groups_in)(x)), mask)
        x = masked(nn.relu(conv("base2", self.hidden, 3, self.groups)(x)), mask)

        def boundary(name: str) -> Array:
            h = nn.relu(conv(f"{name}1", self.hidden, 3, self.groups)(x))
            return conv(f"{name}2", 1, 1, 1)(h)[..., 0].astype(jnp.float32)

        start, end = boundary("start"), boundary("end")

        p = masked(nn.relu(conv("proposal", self.proposal_hidden, 3, 1)(x)), mask)
        kernel = self.param(
            "matching_kernel",
            nn.initializers.he_normal(in_axis=(0, 1), out_axis=2),
            (self.bins, self.proposal_hidden, self.map_hidden),
        )
        bias = self.param("matching_bias", nn.initializers.zeros, (self.map_hidden,))
        head = (bias, *DenseWeights(self.map_conv_hidden, name="map1")(self.map_hidden))
        cells = boundary_matching(
            p,
            kernel.astype(self.dtype),
            durations=self.durations,
            bins=self.bins,
            points=self.points,
            head=map_head,
            head_params=jax.tree.map(lambda x: x.astype(self.dtype), head),
            sampling=self.sampling,
        )  # [B, T, D, map_conv_hidden]
        valid = shown = valid_cells(mask, self.durations)
        if self.map_layout:
            # The last cell of any map but the smallest ends beyond the sequence.
            cells, shown = by_end(cells, cells[:, -1:, -1:]), by_end(valid, jnp.zeros((), bool))

        def visible(y: Array) -> Array:
            return jnp.where(shown[..., None], y, jnp.zeros((), y.dtype)) if self.masked_cells else y

        # The map is by far the largest array: T x D cells.
        h = split_over_model(visible(nn.relu(cells)), 2)
        h = visible(nn.relu(nn.Conv(self.map_conv_hidden, (3, 3), dtype=self.dtype, name="map2")(h)))
        h = visible(nn.relu(nn.Conv(self.map_conv_hidden, (3, 3), dtype=self.dtype, name="map3")(h)))
        out = nn.Dense(2, dtype=self.dtype, name="map4")(h).astype(jnp.float32)
        out = by_duration(out) if self.map_layout else out
        return BMNOutput(start, end, out[..., 0], out[..., 1], valid)

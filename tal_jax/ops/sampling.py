"""Features at real-valued positions: linear interpolation, and where TCANet samples a proposal."""

import jax.numpy as jnp
from jaxtyping import Float

from tal_jax.types import Array


def interpolate(
    x: Float[Array, "B T H"], positions: Float[Array, "B *N"], *, implementation: str = "auto"
) -> Float[Array, "B *N H"]:
    """Linear interpolation of sequences between snippet centres; outside the sequence there are zeros.

    Position p lies between snippets floor(p - 1/2) and floor(p - 1/2) + 1, whose centres are i + 1/2. A neighbour
    outside 0..T-1 counts as zero, it is not clamped to the edge.

    Args:
      x: sequences; padding must be zero.
      positions: in snippet units.
      implementation: `gather` reads the two neighbours, `dense` multiplies by an interpolation matrix [.., T], whose
        gradient is a matrix product instead of a scatter; `auto` is `dense` up to T = 512.

    Returns:
      Features in x's dtype.
    """
    b, t, h = x.shape
    if implementation == "auto":
        implementation = "dense" if t <= 512 else "gather"
    p = positions.reshape(b, -1).astype(jnp.float32) - 0.5
    if implementation == "dense":
        distance = jnp.abs(p[:, :, None] - jnp.arange(t, dtype=jnp.float32)[None, None, :])
        y = jnp.einsum("bqt,bth->bqh", jnp.maximum(1.0 - distance, 0.0).astype(x.dtype), x)
    elif implementation == "gather":
        low = jnp.floor(p)
        fraction = (p - low)[..., None].astype(x.dtype)
        low = low.astype(jnp.int32)

        def row(index):
            inside = (index >= 0) & (index < t)
            value = jnp.take_along_axis(x, jnp.clip(index, 0, t - 1)[..., None], axis=1)
            return jnp.where(inside[..., None], value, jnp.zeros((), x.dtype))

        y = row(low) * (1 - fraction) + row(low + 1) * fraction
    else:
        raise ValueError(f"implementation is 'auto', 'dense' or 'gather', not {implementation!r}")
    return y.reshape((*positions.shape, h))


def proposal_points(
    proposals: Float[Array, "B P 2"],
    limit: Float[Array, "B"],
    *,
    context: int,
    inside: int,
    context_inside: float = 0.0,
) -> Float[Array, "B P 2*{context}+{inside}"]:
    """Where a proposal is sampled: [start context | inside | end context].

    The contexts are [s - w/2, s + c w] and [e - c w, e + w/2] with w = e - s and c = context_inside, 0 in the report: a
    boundary that lies inside the proposal is then out of the frame level's sight. All ends are clamped to [0, limit],
    then point i of n in [a, b] lies at a + (b - a)(i + 1/2) / n.

    Args:
      proposals: in snippet units.
      limit: upper end for clamping: the recording's duration, or T as in the released code.
      context, inside: number of points in either context, and inside.
      context_inside: how far the contexts reach into the proposal, as a fraction of its width.

    Returns:
      Positions in snippet units.
    """
    s, e = proposals[..., 0], proposals[..., 1]
    half, inner = (e - s) / 2, (e - s) * context_inside

    def spread(a, b, n):
        a, b = (jnp.clip(z, 0.0, limit[:, None]) for z in (a, b))
        at = (jnp.arange(n, dtype=jnp.float32) + 0.5) / n
        return a[..., None] + (b - a)[..., None] * at[None, None, :]

    return jnp.concatenate(
        [spread(s - half, s + inner, context), spread(s, e, inside), spread(e - inner, e + half, context)], axis=-1
    )

"""Rows whose outputs are not finite are marked, whatever decoding makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.tasks.finite import marked
from tal_jax.types import Detections
from tal_jax.windows import WindowDetections, is_finite

FOUND = Detections(
    segments=jnp.broadcast_to(jnp.array([0.0, 1.0]), (3, 2, 2)),
    labels=jnp.zeros((3, 2), jnp.int32),
    scores=jnp.full((3, 2), 0.5),
    mask=jnp.array([[True, False], [False, False], [True, True]]),
)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_rows_are_marked(value, dtype):
    outputs = {
        "a": jnp.zeros((3, 4, 5), dtype).at[1, 3, 2].set(value),
        "none": jnp.zeros((3, 0)),
        "integers": jnp.ones((3, 2), jnp.int32),
        "masks": jnp.ones((3, 2), bool),
    }
    got = jax.jit(marked)(FOUND, outputs)
    assert got.mask.tolist() == [[True, False], [True, True], [True, True]]
    np.testing.assert_array_equal(got.scores, [[0.5, 0.5], [np.nan, np.nan], [0.5, 0.5]])
    rows = [
        WindowDetections(*(np.asarray(x)[i] for x in (got.segments, got.labels, got.scores, got.mask)))
        for i in range(3)
    ]
    assert [is_finite(row) for row in rows] == [True, False, True]


def test_what_is_finite_is_left_alone():
    largest = float(np.finfo(np.float32).max)
    got = marked(FOUND, (jnp.full((3, 2), largest), jnp.full((3, 2, 2, 2), -largest)))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), got, FOUND))


def test_padding_does_not_count():
    row = WindowDetections(np.zeros((2, 2)), np.zeros(2, int), np.array([0.5, np.nan]), np.array([True, False]))
    assert is_finite(row)
    assert not is_finite(row._replace(segments=np.array([[0, np.inf], [0, 1]])))

"""The choice between forms by platform: values, gradients, transformations, and what an export of a model holds."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.batches import make_batch

from tal_jax.deploy.onnx import on_cpu
from tal_jax.models.tcanet import TCANet
from tal_jax.ops.by_platform import by_platform
from tal_jax.tasks.tcanet import TCANetTask


def chosen(x, shift):
    return by_platform(lambda x, s: 2 * x + s, lambda x, s: jnp.sin(x) + s, x, constants=(shift,))


def test_values_and_gradients_are_those_of_the_form_at_hand():
    x, shift = np.arange(3, dtype=np.float32), np.array([1, 2, 3], np.float32)
    np.testing.assert_allclose(jax.jit(chosen)(x, shift), 2 * x + shift)
    slope, of_shift = jax.jit(jax.grad(lambda x, s: jnp.sum(chosen(x, s)), argnums=(0, 1)))(x, shift)
    np.testing.assert_array_equal(slope, 2)
    np.testing.assert_array_equal(of_shift, 0)  # a constant for differentiation
    np.testing.assert_allclose(jax.jit(jax.vmap(chosen))(x, shift), 2 * x + shift)


@pytest.mark.parametrize(("platform", "sines"), [("cpu", 0), ("cuda", 1), ("tpu", 1)])
def test_a_program_holds_the_form_of_its_platform_alone(platform, sines):
    x = np.ones(3, np.float32)
    text = jax.jit(chosen).trace(x, x).lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.sine") == sines


@functools.cache
def traced():
    batch = make_batch(lengths=(600,), snippets=600, channels=8)  # so long that attention has two forms
    model = TCANet(hidden=16, ffn=8, regressor_hidden=8, frame_hidden=8, window=3)
    task = TCANetTask(model, classes="video")
    params = jax.eval_shape(task.init, jax.random.key(0), batch)
    return jax.jit(task.predict).trace(params, batch), task, params, batch


@pytest.mark.parametrize(("platform", "whiles", "convolutions"), [("cuda", 1, 11), ("tpu", 1, 11), ("cpu", 3, 0)])
def test_tcanet_traced_on_a_cpu_is_fast_elsewhere(platform, whiles, convolutions):
    """Two convolutions of the encoder and three of every regressor; the loop is soft-NMS."""
    text = traced()[0].lower(lowering_platforms=(platform,)).as_text()
    assert len(re.findall(r"stablehlo\.while\b", text)) == whiles
    assert len(re.findall(r"stablehlo\.convolution\b", text)) == convolutions


def test_programs_for_onnx_have_no_choices():
    program = jax.make_jaxpr(jax.jit(chosen))(np.ones(3, np.float32), np.ones(3, np.float32))
    assert "platform_index" in str(program)
    x, shift = np.arange(3, dtype=np.float32), np.ones(3, np.float32)
    plain = jax.make_jaxpr(lambda *xs: on_cpu(program, *xs))(x, shift)
    assert "platform_index" not in str(plain)
    assert "sin " not in str(plain)
    np.testing.assert_allclose(on_cpu(program, x, shift)[0], 2 * x + shift)
    _, task, params, batch = traced()
    whole = jax.make_jaxpr(task.predict)(params, batch)
    plain = jax.make_jaxpr(lambda *xs: on_cpu(whole, *xs))(*whole.in_avals)
    assert "platform_index" not in str(plain)
    assert plain.out_avals == whole.out_avals

"""The recipes of the report's encoders: what they train, and on which schedule."""

import fnmatch

import numpy as np
import pytest

from tal_jax.configs import encoder_hacs
from tal_jax.data.dataset import Metadata
from tal_jax.encoders import catalogue, weights
from tal_jax.recognition.task import RecognitionTask
from tal_jax.stages.config import parse
from tal_jax.stages.methods import build_task
from tal_jax.train.optimizer import build_optimizer
from tal_jax.windows import Framing


@pytest.mark.parametrize("variant", encoder_hacs.NAMES)
def test_every_variant_is_whole(variant):
    config = parse(encoder_hacs.get_config(variant).to_dict())
    section = config.stages["recognition"]
    stream = variant.split("-")[1]
    metadata = Metadata(("a", "b"), {stream: 3}, 1 / 15, {"training": 9}, (), {}, 1, {stream: "jpeg"}, "f")
    frames = section.kind.snippets(section.model, section.settings)
    task = build_task(section, metadata, Framing("resize", frames), "stages.recognition")
    assert isinstance(task, RecognitionTask)
    assert config.data.streams == (stream,)
    assert task.encoder.sees_flow == (stream == "flow")
    assert 0.66 not in section.settings.crop_scales or stream == "rgb"
    rows = task.rows(section.settings, (stream,), None)
    assert rows.times.images == frames
    _, rate = build_optimizer(section.optimizer, section.steps)
    peak = max(float(rate(int(step))) for step in np.linspace(0, section.steps - 1, 500))
    assert peak == pytest.approx(section.optimizer.learning_rate, rel=0.02)
    assert float(rate(section.steps - 1)) < 0.011 * peak


def test_rates_drop_where_they_were_published():
    section = parse(encoder_hacs.get_config("tsn-rgb").to_dict()).stages["recognition"]
    _, rate = build_optimizer(section.optimizer, section.steps)
    epoch = encoder_hacs.CLIPS // section.batch_size
    found = [round(float(rate(int(e * epoch))), 9) for e in (0, 29, 31, 59, 61, 79)]
    np.testing.assert_allclose(found, [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5], rtol=1e-6)


def test_patterns_of_rates_fit_parameters():
    section = parse(encoder_hacs.get_config("tsn-flow").to_dict()).stages["recognition"]
    shapes = weights.shapes_of(catalogue.find("tsn_bninception_flow"))
    names = [f"params/encoder/{path}" for path in shapes] + ["params/head/dense/bias", "params/head/dense/kernel"]

    def factor(name):
        return np.prod([f for pattern, f in section.optimizer.rates.items() if fnmatch.fnmatchcase(name, pattern)])

    assert factor("params/encoder/conv1_7x7_s2/conv/kernel") == 5
    assert factor("params/encoder/conv1_7x7_s2/conv/bias") == 10
    assert factor("params/encoder/inception_3a/b1a/conv/bias") == 2
    assert factor("params/encoder/conv1_7x7_s2/bn/bias") == 1
    assert factor("params/head/dense/bias") == 2
    for pattern in section.optimizer.rates:
        assert any(fnmatch.fnmatchcase(name, pattern) for name in names), pattern


def test_a_variant_that_is_none():
    with pytest.raises(ValueError, match=r"no variant 'slowfast' .*did you mean 'slowfast-"):
        encoder_hacs.get_config("slowfast")

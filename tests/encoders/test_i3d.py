"""I3D against the code that its published weights come from, as the package cd-fvd has it."""

import dataclasses

import jax
import numpy as np
import pytest
from support.encoders import assert_parity, randomize, save_torch

from tal_jax.encoders import catalogue, weights

SMALL = dataclasses.replace(catalogue.find("i3d"), side=40)


def test_parity_with_the_released_code(tmp_path):
    torch = pytest.importorskip("torch")
    released = pytest.importorskip("cdfvd.third_party.i3d.pytorch_i3d")
    model = randomize(released.InceptionI3d(num_classes=5).eval())
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eps = 1e-3  # as in the original; the package's copy was changed
    model.avg_pool = torch.nn.AvgPool3d((2, 2, 2), stride=1)  # of 7 x 7 places, which there are of 224 rows and columns
    found = weights.read(save_torch(model, tmp_path / "w.pt"), SMALL)
    clips = np.random.default_rng(0).normal(size=(2, 20, 40, 40, 3)).astype(np.float32)
    with torch.no_grad():
        steps = model.extract_features(torch.from_numpy(clips).permute(0, 4, 1, 2, 3))[..., 0, 0]
        logits = model.logits(steps[..., None, None])[..., 0, 0].mean(2).numpy()
    assert steps.shape == (2, 1024, 2)  # ceil(20 / 8) - 1
    assert_parity(SMALL, found, clips, lambda f: f, steps.mean(2).numpy())
    features = jax.jit(SMALL.network(np.float32).apply)(found.variables, clips)
    made = features @ found.head["kernel"] + found.head["bias"].reshape(1, -1)
    np.testing.assert_allclose(made, logits, rtol=1e-3, atol=1e-4 * np.abs(logits).max())


def test_a_clip_that_is_too_short():
    with pytest.raises(ValueError, match="9 images at least, not 8"):
        SMALL.network(np.float32).init(jax.random.key(0), np.zeros((1, 8, 40, 40, 3), np.float32))

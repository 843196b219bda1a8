"""A step of training against PyTorch: loss, gradients, statistics and partial batch norm, SGD."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.encoders import randomize

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.resnet import ResNet
from tal_jax.encoders.slowfast import SlowFast
from tal_jax.recognition.recogniser import Recogniser, normalised
from tal_jax.recognition.task import RecognitionTask
from tal_jax.stages.sections import OptimizerSection
from tal_jax.tasks.task import STATISTICS
from tal_jax.train.optimizer import build_optimizer
from tal_jax.train.step import TrainState, make_train_step
from tal_jax.types import Batch

torch = pytest.importorskip("torch", reason="the PyTorch models need the extra torch")
from benchmarks import torch_encoders, torch_recognition, torch_two_stream  # noqa: E402

pytestmark = pytest.mark.slow

DEPTHS, WIDTH, CLASSES = (1, 2, 1, 1), 16, 5
RESNET = functools.partial(torch_two_stream.ResNet, depths=DEPTHS, width=WIDTH)
# Entry of the catalogue -> our network, theirs, images of a clip, channels of the feature.
NETWORKS = {
    "tsn_resnet50": (functools.partial(ResNet, depths=DEPTHS, width=WIDTH), RESNET, 3, 512),
    "tsn_resnet50_flow": (
        functools.partial(ResNet, depths=DEPTHS, width=WIDTH), functools.partial(RESNET, in_channels=10), 3, 512
    ),
    "tsm_resnet50": (
        functools.partial(ResNet, depths=DEPTHS, width=WIDTH, shift=True),
        functools.partial(RESNET, temporal="shift"), 8, 512,
    ),
    "tin_resnet50": (
        functools.partial(ResNet, depths=DEPTHS, width=WIDTH, interlaced=8),
        functools.partial(RESNET, temporal="interlace"), 8, 512,
    ),
    "slowfast50_8x8": (
        functools.partial(SlowFast, depths=DEPTHS, width=WIDTH, alpha=4, fusion=7),
        functools.partial(torch_encoders.SlowFast, depths=DEPTHS, width=WIDTH), 8, 576,
    ),
}  # fmt: skip


@pytest.fixture
def entry(request, monkeypatch):
    """A small network in the place of a known one."""
    ours, _, images, width = NETWORKS[request.param]
    found = dataclasses.replace(catalogue.find(request.param), make=ours, images=images, side=32, width=width)
    monkeypatch.setattr(catalogue, "find", lambda name: found)
    return found


def as_tree(tmp_path, entry, tensors):
    """Tensors by released names as our variables, and the classifier's."""
    np.savez(tmp_path / "w.npz", **{k: x for k, x in tensors.items() if not k.startswith("fc")})
    found = weights.read(tmp_path / "w.npz", entry).variables
    dense = {"kernel": tensors["fc.weight"].T, "bias": tensors["fc.bias"]}
    return {
        "params": {"encoder": found["params"], "head": {"dense": dense}}, STATISTICS: {"encoder": found[STATISTICS]}
    }  # fmt: skip


def close(made, expected, most=1e-4):
    """Within 1e-4 of the largest value of each array, or of the whole where that is nothing but rounding."""
    flat, other = (jax.tree_util.tree_leaves_with_path(tree) for tree in (made, expected))
    assert [path for path, _ in flat] == [path for path, _ in other]
    whole = max(np.abs(x).max() for _, x in other)
    for (path, x), (_, y) in zip(flat, other, strict=True):
        error = np.abs(np.asarray(x) - y).max() / max(np.abs(y).max(), 1e-3 * whole)
        assert error < most, (jax.tree_util.keystr(path), error)


SEEDS = 5


@pytest.mark.parametrize("partial", [False, True], ids=["all norms", "partial norm"])
@pytest.mark.parametrize("entry", NETWORKS, indirect=True)
def test_a_step(entry, partial, tmp_path):
    """With one of a few seeds: of a million values one may lie so near to 0 that a ReLU lets it pass on one side alone.

    What is wrong is wrong with all of them.
    """
    task = RecognitionTask(Recogniser(entry.name, CLASSES, dropout=0.0), label_smoothing=0.1, partial_norm=partial)
    section = OptimizerSection(
        method="sgd", learning_rate=0.05, weight_decay=1e-3, nesterov=True, clip_norm=0.5, schedule="constant"
    )
    optimizer, _ = build_optimizer(section, 10)
    gradients = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    step = jax.jit(make_train_step(task, optimizer, seed=0, ema_decay=0.0, steps=10))
    for seed in range(SEEDS):
        try:
            compare(entry, task, gradients, step, optimizer, seed, tmp_path)
            return
        except AssertionError as e:
            print(f"seed {seed}: {e}")
            if seed == SEEDS - 1:
                raise


def compare(entry, task, gradients, step, optimizer, seed, tmp_path):
    network = NETWORKS[entry.name][1]()
    network = torch_two_stream.TSN(network) if isinstance(network, torch_two_stream.ResNet) else network
    model = torch_recognition.Recognizer(network, entry.width, CLASSES, dropout=0.0)
    randomize(model, seed)
    before = {torch_recognition.released(k): x.numpy().copy() for k, x in model.state_dict().items()}
    clips = np.random.default_rng(seed).integers(0, 256, (4, entry.images, 32, 32, entry.channels), np.uint8)
    labels = np.array([0, 3, 1, 3])
    params = as_tree(tmp_path, entry, before)
    batch = Batch.make(clips, np.ones(clips.shape[:2], bool), labels=np.eye(CLASSES, dtype=np.float32)[labels])
    (loss, _), found = gradients(params, batch, jax.random.key(0))
    state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), None)

    seen = np.array(normalised(clips, entry.preprocessing))
    recipe = torch_recognition.Recipe(
        rate=0.05, decay=1e-3, nesterov=True, smoothing=0.1, norm=0.5, partial_bn=task.partial_norm,
        scales=lambda model: {n: (1.0, float(p.ndim > 1)) for n, p in model.named_parameters()},
    )  # fmt: skip
    images = torch.from_numpy(seen).permute(0, 4, 1, 2, 3)
    for theirs in torch_recognition.steps(model, [(images, torch.from_numpy(labels))] * 2, recipe):
        gradient = {**{k: np.zeros_like(x) for k, x in before.items()}, **theirs.gradients}
        after = {**before, **theirs.parameters, **theirs.statistics}
        if state.step == 0:
            assert abs(float(loss) - theirs.loss) < 1e-4 * theirs.loss
            close(found["params"], as_tree(tmp_path, entry, gradient)["params"])
        state, metrics = step(state, batch)
        assert abs(float(metrics["loss"]) - theirs.loss) < 1e-4 * theirs.loss
        assert abs(float(metrics["gradient_norm"]) - theirs.norm) < 1e-3 * theirs.norm
        close(state.params, as_tree(tmp_path, entry, after), 2e-4)
    changed = [k for k, x in theirs.statistics.items() if not np.array_equal(x, before[k])]
    assert len(changed) == (2 if task.partial_norm else len(theirs.statistics))
    assert optax.tree.norm(found[STATISTICS]) == 0

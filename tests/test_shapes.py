"""Shapes in signatures: none is missing, and a wrong one is noticed."""

import dataclasses
import importlib
import inspect
import pkgutil
import typing
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from support.batches import make_batch

import tal_jax
from tal_jax import segments
from tal_jax.losses.mmd import mmd
from tal_jax.losses.reduction import masked_mean
from tal_jax.losses.tcanet import video_class_loss
from tal_jax.models.bmn import BMN
from tal_jax.models.classifier import VideoClassifier
from tal_jax.models.mgfn import MGFN, scaled
from tal_jax.models.tcanet import TCANet
from tal_jax.ops.attention import global_attention
from tal_jax.ops.convolution import conv1d
from tal_jax.ops.pooling import top_weights
from tal_jax.ops.sampling import interpolate
from tal_jax.types import Array, Detections

ROOMS = ("ops", "losses", "models")


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def functions():
    """Public functions, and public modules' public methods that their classes define, by name."""
    for room in ROOMS:
        folder = importlib.import_module(f"tal_jax.{room}")
        for info in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
            for name, value in vars(importlib.import_module(info.name)).items():
                if name.startswith("_") or getattr(value, "__module__", None) != info.name:
                    continue
                if inspect.isclass(value) and issubclass(value, nn.Module):
                    for method in ("__call__", "encode", "refine"):
                        if method in vars(value):
                            yield f"{info.name}.{name}.{method}", vars(value)[method]
                elif callable(value) and not inspect.isclass(value):
                    yield f"{info.name}.{name}", value


FUNCTIONS = dict(functions())


def bare(hint):
    """Whether some part of an annotation is an array of any shape."""
    if hint in (inspect.Parameter.empty, Array, jax.Array, np.ndarray):
        return True
    return isinstance(hint, type) is False and any(bare(part) for part in typing.get_args(hint))


def test_there_are_many():
    assert len(FUNCTIONS) > 60
    assert {"tal_jax.ops.nms.soft_nms", "tal_jax.losses.oic.oic_loss", "tal_jax.models.joint.Joint.__call__"} <= set(
        FUNCTIONS
    )


# What takes no arrays but a function of them.
EXCEPT = {"tal_jax.models.joint.Joint.__call__": {"pick"}, "tal_jax.ops.boundary_matching.boundary_matching": {"head"}}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_array_has_a_shape(name):
    signature = inspect.signature(FUNCTIONS[name])
    hints = {p.name: p.annotation for p in signature.parameters.values() if p.name != "self"}
    hints["return"] = signature.return_annotation
    assert [n for n, hint in hints.items() if n not in EXCEPT.get(name, ()) and bare(hint)] == []


def shaped(struct):
    """A struct's annotated arrays, with what they are."""
    hints = typing.get_type_hints(type(struct), include_extras=True)
    for field in dataclasses.fields(struct):
        value = getattr(struct, field.name)
        if isinstance(value, tuple):
            for part in value:
                yield from shaped(part)
        elif dataclasses.is_dataclass(value):
            yield from shaped(value)
        elif value is not None:
            yield field.name, value, hints[field.name]


def wrong_fields(struct):
    with jaxtyping.jaxtyped("context"):
        # Not isinstance(value, hint): of a union, it asks for the class of value alone.
        return [
            name
            for name, value, hint in shaped(struct)
            if not any(isinstance(value, kind) for kind in typing.get_args(hint))
        ]


def outputs():
    """Small outputs of all networks, whose axes all differ in length."""
    x, mask, duration = ones(2, 8, 12), ones(2, 8, dtype=bool), np.full(2, 8, np.float32)
    proposals = np.tile(np.asarray([1, 5], np.float32), (2, 3, 1))
    small = {"hidden": 16, "groups": 1}
    nets = {
        "bmn": (BMN(durations=6, proposal_hidden=4, map_hidden=10, map_conv_hidden=4, **small), (x, mask), {}),
        "tcanet": (
            TCANet(num_classes=5, snippet_head=True, window=3, context=4, inside=8, regressor_hidden=8, **small),
            (x, mask, duration, proposals),
            {"train": False},
        ),
        "mgfn": (
            MGFN(num_classes=5, hidden=16, branch_hidden=7, dilations=(1, 2, 3), anchors=(2.0, 4.0, 6.0, 8.0)),
            (x, mask),
            {"train": False},
        ),
    }
    return {
        name: jax.eval_shape(lambda net=net, args=args, kw=kw: net.init_with_output(jax.random.key(0), *args, **kw)[0])
        for name, (net, args, kw) in nets.items()
    }


@pytest.mark.parametrize("name", ["bmn", "tcanet", "mgfn"])
def test_outputs_of_networks_are_as_their_fields_say(name):
    struct = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), outputs()[name])
    assert len(list(shaped(struct))) > 4
    assert wrong_fields(struct) == []


@pytest.mark.parametrize("xp", [np, jnp])
def test_fields_of_batches(xp):
    batch = jax.tree.map(xp.asarray, make_batch())
    assert wrong_fields(batch) == []
    assert wrong_fields(jax.tree.map(lambda x: x[0, ...] if x.ndim > 1 else xp.asarray(x[0]), batch)) == []
    assert "features" not in wrong_fields(batch.replace(features=ones(4, 12, 9)))
    assert wrong_fields(batch.replace(proposal_mask=ones(4, 7, dtype=bool))) == ["proposal_mask"]
    assert wrong_fields(batch.replace(segment_mask=ones(4, 3))) == ["segment_mask"]
    assert wrong_fields(Detections(ones(2, 3, 2), ones(2, 3, dtype=np.int32), ones(2, 3), ones(2, 4, dtype=bool))) == [
        "mask"
    ]


MASK, LESS = ones(2, 8, dtype=bool), ones(2, 7, dtype=bool)
WRONG = {
    "ops: mask of another length": lambda: global_attention(*[ones(2, 8, 2, 4)] * 3, LESS, scale=1.0),
    "ops: channels of kernel": lambda: conv1d(ones(2, 8, 4), ones(3, 4, 6), groups=2),
    "ops: another batch": lambda: interpolate(ones(2, 8, 4), ones(3, 5)),
    "ops: mask of floats": lambda: top_weights(ones(2, 8, 3), ones(2, 8), 2),
    "losses: classes": lambda: video_class_loss(ones(2, 5), ones(2, 1)),
    "losses: features": lambda: mmd(ones(3, 4), ones(5, 1), ones(3, dtype=bool), ones(5, dtype=bool)),
    "losses: broadcast weights": lambda: masked_mean(ones(2, 8), ones(2, 1)),
    "models: no batch": lambda: VideoClassifier(3).init(jax.random.key(0), ones(8, 4), MASK[0], train=False),
    "models: batch of mask": lambda: BMN().init(jax.random.key(0), ones(2, 8, 4), MASK[:1]),
    "models: classes of labels": lambda: scaled(ones(2, 8, 3), LESS),
    "segments: no ends": lambda: segments.pairwise_iou(ones(2, 3), ones(2, 3, 2)),
    "traced": lambda: jax.jit(video_class_loss)(ones(2, 5), ones(2, 1)),
    "of one row": lambda: jax.vmap(masked_mean)(ones(2, 8), ones(2, 8, 1)),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_axis_is_noticed(mistake):
    with pytest.raises(jaxtyping.TypeCheckError, match="Type-check error"):
        WRONG[mistake]()


def test_a_wrong_result_is_noticed(monkeypatch):
    monkeypatch.setattr("tal_jax.losses.tcanet.masked_mean", lambda values, weights: values)
    with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
        video_class_loss(ones(2, 5), ones(2, 5))


def test_symbolic_lengths():
    """Exports are traced with symbols for lengths."""
    b, t = jax.export.symbolic_shape("b, t")
    x, mask = jax.ShapeDtypeStruct((b, t, 4), jnp.float32), jax.ShapeDtypeStruct((b, t), jnp.bool_)
    net = VideoClassifier(3)
    params = net.init(jax.random.key(0), ones(2, 8, 4), MASK, train=False)
    program = jax.export.export(jax.jit(lambda x, mask: net.apply(params, x, mask, train=False)))(x, mask)
    assert program.out_avals[0].shape == (b, 3)
    longer = jax.ShapeDtypeStruct((b, t + 1), jnp.bool_)
    with pytest.raises(jaxtyping.TypeCheckError):
        jax.export.export(jax.jit(lambda x, mask: net.apply(params, x, mask, train=False)))(x, longer)


def test_the_library_itself_checks_nothing():
    texts = {path: path.read_text(encoding="utf-8") for path in Path(tal_jax.__path__[0]).rglob("*.py")}
    assert [path for path, text in texts.items() if "beartype" in text or "jaxtyped" in text] == []

"""The layout of a batch: what is left out is filled in, and the specification says what the pipeline makes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.batches import make_batch
from support.clip_set import prepare_clip_set

from tal_jax.batch_layout import LAYOUT, Sizes, empty
from tal_jax.data.dataset import open_split
from tal_jax.data.rows import Assembler
from tal_jax.types import Batch
from tal_jax.windows import Framing


def shapes(batch):
    return jax.tree.map(lambda x: (x.shape, np.dtype(x.dtype)), batch)


def same(got, want):
    for field in dataclasses.fields(Batch):
        a, b = getattr(got, field.name), getattr(want, field.name)
        assert (a is None) == (b is None), field.name
        if a is not None:
            np.testing.assert_array_equal(a, b, strict=True, err_msg=field.name)


@pytest.mark.parametrize("rows", [(2,), ()])
@pytest.mark.parametrize("xp", [np, jnp])
def test_what_is_left_out_is_filled_in(xp, rows):
    features = xp.arange(np.prod((*rows, 3, 4)), dtype=np.float32).reshape(*rows, 3, 4)
    zeros = lambda *shape, dtype=np.float32: np.zeros((*rows, *shape), dtype)  # noqa: E731
    want = Batch(
        features=np.asarray(features), mask=np.ones((*rows, 3), bool), stride=np.ones(rows, np.float32),
        duration=np.full(rows, 3, np.float32), labels=zeros(5), segments=zeros(2, 2),
        segment_labels=zeros(2, dtype=np.int32), segment_mask=zeros(2, dtype=bool), proposals=zeros(6, 2),
        proposal_scores=zeros(6), proposal_mask=zeros(6, dtype=bool), class_scores=zeros(5),
    )  # fmt: skip
    got = Batch.make(features, num_classes=5, num_segments=2, num_proposals=6)
    same(got, want)
    assert {isinstance(x, jax.Array) for x in jax.tree.leaves(got)} == {xp is jnp}
    assert shapes(Batch.make(features)) == shapes(Batch.spec(Sizes(3, 4, classes=0), *rows))
    if xp is jnp:
        same(jax.jit(lambda x: Batch.make(x, num_classes=5, num_segments=2, num_proposals=6))(features), want)


def test_what_is_given_is_kept_and_gives_the_sizes():
    whole = make_batch()
    given = {field.name: getattr(whole, field.name) for field in dataclasses.fields(Batch) if field.name in LAYOUT}
    same(Batch.make(**given), whole)
    got = Batch.make(
        whole.features, whole.mask, segments=whole.segments, proposals=whole.proposals, labels=whole.labels
    )
    np.testing.assert_array_equal(got.duration, [12, 9, 5, 11])
    assert got.segment_mask.all()
    assert got.proposal_mask.all()
    assert (got.proposal_scores == 1).all()
    spec = Batch.spec(Sizes(12, 4, 3, segments=3, proposals=5), 4)
    assert shapes(got) == shapes(whole) == shapes(spec)
    assert Batch.make(whole.features, class_scores=whole.class_scores).labels.shape == (4, 3)
    with pytest.raises(TypeError, match="colour"):
        Batch.make(whole.features, colour=1)


@pytest.mark.parametrize("rows", [(), (3,)])
@pytest.mark.parametrize("clip_features", [None, 7])
def test_empty_rows_are_specified_and_hold_nothing(rows, clip_features):
    sizes = Sizes(5, 2, 4, segments=3, proposals=6, clip_features=clip_features)
    batch = Batch(**empty(sizes, *rows))
    assert shapes(batch) == shapes(Batch.spec(sizes, *rows))
    for name, x in vars(batch).items():
        if x is not None:
            assert (x == (name == "stride")).all()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    prepare_clip_set(folder)
    return open_split(folder / "data", "training")


@pytest.mark.parametrize("weak", [False, True])
def test_rows_of_the_pipeline_are_specified(clips, weak):
    metadata = clips.metadata
    pooled = {str(id): np.arange(7.0) for id in clips.ids}
    given = {str(id): (np.array([[0.0, 1.0], [1.0, 3.0], [0.0, 2.0]]), np.ones(3)) for id in clips.ids}
    assembler = Assembler(
        framing=Framing("window", 16), streams=tuple(metadata.streams), width=sum(metadata.streams.values()),
        num_classes=len(metadata.labels), max_segments=4, max_proposals=3, train_proposals=2, proposals=given,
        clip_features=pooled, weak=weak,
    )  # fmt: skip
    spec = Batch.spec(assembler.sizes)
    assert spec.clip_features.shape == (7,)
    assert shapes(assembler.detection_row(clips[0], 0, 0.0)[0]) == shapes(spec) == shapes(assembler.empty_row()[0])
    row, _ = assembler.training_row(clips[0], 0, np.random.default_rng(0))
    assert shapes(row) == shapes(Batch.spec(dataclasses.replace(assembler.sizes, proposals=2)))

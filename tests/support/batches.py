"""Small random batches whose padding holds rubbish, and the same batches padded further or in another order."""

import jax
import numpy as np

from tal_jax.types import Batch

LENGTHS = (12, 9, 5, 11)


def make_batch(*, seed=0, snippets=12, channels=4, classes=3, slots=3, proposals=5, lengths=LENGTHS) -> Batch:
    """A batch with len(lengths) recordings; all but the first have fewer segments and proposals than slots."""
    rng = np.random.default_rng(seed)
    b = len(lengths)
    duration = np.array(lengths, np.float32) - np.float32(0.25)

    def segments(n, low, high):  # half widths from low to high of the recording
        centre = rng.uniform(0.15, 0.85, (b, n)) * duration[:, None]
        half = rng.uniform(low, high, (b, n)) * duration[:, None]
        ends = np.stack([centre - half, centre + half], axis=-1)
        return np.clip(ends, 0, duration[:, None, None]).astype(np.float32)

    truth = segments(slots, 0.1, 0.4)
    near = truth[:, np.arange(proposals) % slots] + rng.normal(0, 0.3, (b, proposals, 2))
    near = np.clip(np.sort(near, axis=-1), 0, duration[:, None, None]).astype(np.float32)
    # In turn near a segment, anywhere and short: overlaps of all sizes.
    kind = (np.arange(proposals) % 3)[None, :, None]
    given = np.where(
        kind == 0, near, np.where(kind == 1, segments(proposals, 0.1, 0.4), segments(proposals, 0.02, 0.06))
    )
    labels = rng.integers(0, classes, (b, slots)).astype(np.int32)
    segment_mask = np.arange(slots)[None] < np.maximum(slots - np.arange(b), 1)[:, None]
    present = np.zeros((b, classes), np.float32)
    for i, g in np.argwhere(segment_mask):
        present[i, labels[i, g]] = 1
    return Batch.make(
        rng.normal(size=(b, snippets, channels)).astype(np.float32),
        mask=np.arange(snippets)[None] < np.array(lengths)[:, None],
        stride=rng.uniform(0.1, 2, b).astype(np.float32),
        duration=duration,
        labels=present,
        segments=truth,
        segment_labels=labels,
        segment_mask=segment_mask,
        proposals=given,
        proposal_scores=rng.uniform(0.2, 1, (b, proposals)).astype(np.float32),
        proposal_mask=np.arange(proposals)[None] < np.maximum(proposals - np.arange(b), 1)[:, None],
        class_scores=rng.uniform(0.05, 1, (b, classes)).astype(np.float32),
    )


def pad_further(batch: Batch, *, snippets=0, slots=0, proposals=0) -> Batch:
    """The same batch with more masked snippets, segments and proposals, all rubbish."""

    def more(x, n, rubbish):
        filler = np.full((x.shape[0], n, *x.shape[2:]), rubbish, x.dtype)
        if x.ndim == 3 and x.shape[-1] == 2:
            filler[..., 0] = 0
        return np.concatenate([x, filler], axis=1)

    return batch.replace(
        features=more(batch.features, snippets, 9),
        mask=more(batch.mask, snippets, False),
        segments=more(batch.segments, slots, 6),
        segment_labels=more(batch.segment_labels, slots, 1),
        segment_mask=more(batch.segment_mask, slots, False),
        proposals=more(batch.proposals, proposals, 7),
        proposal_scores=more(batch.proposal_scores, proposals, 1),
        proposal_mask=more(batch.proposal_mask, proposals, False),
    )


def reorder(tree, order):
    """Rows of every array in another order."""
    return jax.tree.map(lambda x: np.asarray(x)[np.asarray(order)], tree)


def without_truth(batch: Batch) -> Batch:
    """The same batch without any real segment."""
    return batch.replace(segment_mask=np.zeros_like(batch.segment_mask), labels=np.zeros_like(batch.labels))

"""A baseline that looks at one snippet at a time: logistic regression on its features, then runs above thresholds.

python -m benchmarks.snippet_baseline --data=DATA --split=validation --out=D.json

It lacks all that the models of this project know about time: neighbours, ends, lengths. Runs of a class's probability
at nine thresholds, scored by its mean inside, go through Soft-NMS.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from tal_jax.commands import app

_DATA = flags.DEFINE_string("data", None, "Prepared set.", required=True)
_SPLIT = flags.DEFINE_string("split", "validation", "In which it detects.")
_OUT = flags.DEFINE_string("out", None, "Detections file to write (JSON).", required=True)
WEIGHT_DECAY = 1e-2
STEPS = 500
THRESHOLDS = np.linspace(0.1, 0.9, 9, dtype=np.float32)


def main(argv: Sequence[str]) -> None:
    """Learns from the training recordings, detects in the others, writes."""
    del argv
    from tal_jax.data import normalization
    from tal_jax.data.dataset import open_split
    from tal_jax.evaluation.detection_files import Submission, write
    from tal_jax.evaluation.segment_table import table_of

    training, others = open_split(_DATA.value, "training"), open_split(_DATA.value, _SPLIT.value)
    statistics = normalization.measure(training, tuple(training.metadata.streams))
    labels = training.metadata.labels

    def scaled(record):
        x = np.concatenate(list(record.features.values()), axis=1).astype(np.float32)
        return (x - statistics.mean) / statistics.std

    known = [training[i] for i in range(len(training))]
    weights, bias = learn(
        np.concatenate([scaled(record) for record in known]),
        np.concatenate([inside(record, len(labels)) for record in known]),
    )
    records = [others[i] for i in range(len(others))]
    found = [
        (i, detections(jax.nn.sigmoid(scaled(record) @ weights + bias), record.stride))
        for i, record in enumerate(records)
    ]
    write(_OUT.value, Submission(tuple(record.id for record in records), labels, table_of(found)))
    print(f"{_OUT.value}: {sum(len(part.scores) for _, part in found)} detections in {len(records)} recordings")


def inside(record, classes: int) -> np.ndarray:
    """[T, K] in {0, 1}: which classes the middle of each snippet lies in."""
    middles = (np.arange(len(next(iter(record.features.values())))) + 0.5) * record.stride
    target = np.zeros((len(middles), classes), np.float32)
    for (start, end), label in zip(record.segments, record.labels, strict=True):
        target[(middles >= start) & (middles < end), label] = 1
    return target


def learn(x: np.ndarray, target: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Weights [C, K] and bias [K] of one logistic regression per class, by full-batch Adam with weight decay."""
    params = (jnp.zeros((x.shape[1], target.shape[1])), jnp.zeros(target.shape[1]))
    optimizer = optax.adamw(1e-2, weight_decay=WEIGHT_DECAY)

    def loss(params):
        return optax.sigmoid_binary_cross_entropy(x @ params[0] + params[1], target).mean()

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda: jax.lax.scan(step, (params, optimizer.init(params)), length=STEPS)[0][0])()


def detections(probabilities: jax.Array, stride: float):
    """The runs of the probabilities [T, K] of one recording, in seconds, best first."""
    from tal_jax.ops.nms import soft_nms
    from tal_jax.ops.threshold_runs import runs
    from tal_jax.types import Detections
    from tal_jax.windows import WindowDetections

    t, k = probabilities.shape
    segments, first = (x[0] for x in runs(probabilities[None], jnp.ones((1, t), bool), jnp.asarray(THRESHOLDS)))
    # The mean inside: of the snippets whose middles lie in the run.
    middles = jnp.arange(t) + 0.5
    within = (middles >= segments[..., :1]) & (middles < segments[..., 1:])  # [J, T, K, T]
    mean = jnp.einsum("jtks,sk->jtk", within, probabilities) / jnp.maximum(within.sum(-1), 1)
    flat = Detections(
        segments=segments.reshape(1, -1, 2) * stride,
        labels=jnp.broadcast_to(jnp.arange(k, dtype=jnp.int32), mean.shape).reshape(1, -1),
        scores=jnp.where(first, mean, 0.0).reshape(1, -1),
        mask=first.reshape(1, -1),
    )
    kept = jax.tree.map(lambda x: np.asarray(x[0]), soft_nms(flat, sigma=0.4, top_k=100, min_score=1e-3))
    return WindowDetections(*(x[kept.mask] for x in (kept.segments, kept.labels, kept.scores, kept.mask)))


if __name__ == "__main__":
    app.run(main, reads=[_DATA], writes=[_OUT])

"""The weakly-supervised equations (report, section 3) as plain NumPy loops over one recording, in float64.

Sequences are [T, K]; a sequence is a function of time that is x[i] on [i, i + 1).
"""

import itertools
import math

import numpy as np

from support.references import base, conv1d, dense, relu, sigmoid

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def integral(x, a, b):
    """Of one sequence [T] from a to b, the other way round with the other sign; zero outside the recording."""
    if b < a:
        return -integral(x, b, a)
    return sum(v * max(min(b, i + 1) - max(a, i), 0.0) for i, v in enumerate(x))


def average(x, pieces):
    """Mean of one sequence [T] over the pieces (a, b) within the recording, taken over a snippet at least."""
    pieces = [(min(max(a, 0.0), len(x)), min(max(b, 0.0), len(x))) for a, b in pieces]
    length = sum(b - a for a, b in pieces)
    return sum(integral(x, a, b) for a, b in pieces) / max(length, 1.0)


def inner_outer(x, s, e, gamma):
    """Mean inside [s, e], and over what the inflated boundaries add, at least one snippet on either side."""
    e = max(s, e)
    margin = max(gamma * (e - s), 1.0)
    return average(x, [(s, e)]), average(x, [(s - margin, s), (e, e + margin)])


def contrast(x, s, e, gamma):
    inner, outer = inner_outer(x, s, e, gamma)
    return (outer - inner + 1) / 2


def oic_loss(cas, segments, labels, *, gamma=0.25, min_activation=0.1, max_contrast=0.7):
    """Over a list of recordings: cas [T, K], segments [T, M, 2] and labels [K] of each."""
    taking_part = []
    for x, anchors, present in zip(cas, segments, labels, strict=True):
        for t, k in np.ndindex(*x.shape):
            best = min(contrast(x[:, k], s, e, gamma) for s, e in anchors[t])
            if present[k] and x[t, k] > min_activation and best < max_contrast:
                taking_part.append(best)
    return sum(taking_part) / len(taking_part) if taking_part else 0.0


def smooth(x, window):
    """Moving average of one sequence [T]."""
    if window <= 1:
        return np.array(x)
    return np.array([average(x, [(i + 0.5 - window / 2, i + 0.5 + window / 2)]) for i in range(len(x))])


def runs(x, threshold):
    """Segments (start, end) of one sequence [T] at or above a threshold, with the snippets at which they begin."""
    found, t = [], 0
    while t < len(x):
        if x[t] < threshold:
            t += 1
            continue
        first = t
        while t + 1 < len(x) and x[t + 1] >= threshold:
            t += 1

        def crossing(inside, outside):  # of the line between two snippet centres
            return inside + 0.5 + (outside - inside) * (x[inside] - threshold) / (x[inside] - x[outside])

        start = crossing(first, first - 1) if first > 0 else 0.0
        end = crossing(t, t + 1) if t + 1 < len(x) else float(len(x))
        found.append((first, start, end))
        t += 1
    return found


def median_distance(x, y):
    """The lower median over all pairs of different members of both samples."""
    distances = sorted(math.dist(a, b) for a, b in itertools.combinations([*x, *y], 2))
    return distances[(len(distances) - 1) // 2]


def mmd(x, y, bandwidth, multipliers=BANDWIDTHS):
    """Gretton et al. 2012, equation 3, for samples [M, D] and [N, D]."""

    def kernel(a, b):
        return sum(math.exp(-sum((a - b) ** 2) / (2 * (q * bandwidth) ** 2)) for q in multipliers)

    m, n = len(x), len(y)
    total = sum(kernel(x[i], x[j]) for i, j in np.ndindex(m, m) if i != j) / (m * (m - 1))
    total += sum(kernel(y[i], y[j]) for i, j in np.ndindex(n, n) if i != j) / (n * (n - 1))
    return total - 2 * sum(kernel(x[i], y[j]) for i, j in np.ndindex(m, n)) / (m * n)


def votes(values, top):
    """The weight of every snippet: equal for the ceil(n / top) highest values [T], the earlier one of equals."""
    n = len(values)
    chosen = sorted(range(n), key=lambda i: (-values[i], i))[: math.ceil(n / top)]
    return np.array([1 / len(chosen) if i in chosen else 0.0 for i in range(n)])


def classifier(params, features, *, dilations, top):
    """One stage: features [T, C] -> encoded [T, H], logits [R, K], pooled [R, K, D] and the fused sequence H [T, K].

    top: 1 / share of the snippets that decide; 1 is global average pooling.
    """
    encoded = base(params, features, np.ones(len(features), bool), 1)
    logits, pooled, sequences = [], [], []
    for rate in dilations:
        conv, out = params[f"branch{rate}"], params[f"out{rate}"]
        y = relu(conv1d(encoded, conv["kernel"], conv["bias"], dilation=rate, padding=rate))
        h = np.stack([dense(out, row) for row in y])
        seen = np.stack([votes(h[:, k], top) @ y for k in range(h.shape[1])])  # [K, D]
        pooled.append(seen)
        logits.append([seen[k] @ out["kernel"][:, k] + out["bias"][k] for k in range(len(seen))])
        sequences.append(h)
    original, *others = sequences
    fused = original + sum(others) / len(others) if others else original
    return {"encoded": encoded, "logits": np.array(logits), "pooled": np.array(pooled), "sequence": fused}


def scaled(x):
    """Min-max scaling of one sequence [T]."""
    low, high = min(x), max(x)
    return np.array([(v - low) / (high - low) if high > low else 0.0 for v in x])


def erasure(cas, labels, threshold):
    """Snippets [T] that exceed the fraction of the range of any class of the recording."""
    regions = [scaled(cas[:, k]) > threshold for k in range(cas.shape[1]) if labels[k]]
    return np.any(regions, axis=0) if regions else np.zeros(len(cas), bool)


def predicted(logits):
    """Classes [K] whose mean logit over the branches [R, K] is positive, at least the highest."""
    mean = logits.mean(axis=0)
    return [v > 0 or k == np.argmax(mean) for k, v in enumerate(mean)]


def cascade(params, features, labels, *, threshold, activation, **sizes):
    """Both stages, the cascaded sequence and the erased snippets; labels None: the first stage's predictions."""
    first = classifier(params["stage1"], features, **sizes)
    if threshold is None:
        return [first], first["sequence"], np.zeros(len(features), bool)
    labels = predicted(first["logits"]) if labels is None else labels
    erased = erasure(sigmoid(first["sequence"]) if activation == "sigmoid" else first["sequence"], labels, threshold)
    second = classifier(params["stage2"], np.where(erased[:, None], 0.0, features), **sizes)
    return [first, second], np.maximum(first["sequence"], second["sequence"]), erased


def regressor(params, x, anchors):
    """Encoded features [T, H] -> offsets [T, M, 2]: centres move by half a width at most, widths by a factor of two."""
    for i in range(3):
        x = relu(conv1d(x, params[f"regressor{i + 1}"]["kernel"], params[f"regressor{i + 1}"]["bias"], padding=1))
    y = conv1d(x, params["offsets"]["kernel"], params["offsets"]["bias"], padding=1)

    def bounded(z, limit):
        return limit * np.tanh(z / limit)

    return np.array([[(bounded(r[2 * m], 0.5), bounded(r[2 * m + 1], math.log(2))) for m in range(anchors)] for r in y])


def mgfn(params, features, labels=None, *, streams=None, dilations=(1, 2, 3, 5), top=1, threshold=0.5,
         activation="sigmoid", anchors=0):  # fmt: skip
    """MGFN on one recording without padding: a dictionary of arrays, each stage's fields numbered.

    threshold: of erasing; None: one stage only.
    """
    parts, at = [], 0
    for i, width in enumerate(streams or [features.shape[1]]):
        name = f"stream{i + 1}" if streams else "cascade"
        x = features[:, at : at + width]
        sizes = {"dilations": dilations, "top": top}
        parts.append(cascade(params[name], x, labels, threshold=threshold, activation=activation, **sizes))
        at += width
    found = {"sequence": sum(p[1] for p in parts) / len(parts), "erased": np.stack([p[2] for p in parts])}
    for i in range(len(parts[0][0])):
        stage = [p[0][i] for p in parts]
        found[f"encoded{i + 1}"] = np.concatenate([s["encoded"] for s in stage], axis=1)
        found[f"logits{i + 1}"] = np.concatenate([s["logits"] for s in stage])
        found[f"pooled{i + 1}"] = np.concatenate([s["pooled"] for s in stage])
        found[f"sequence{i + 1}"] = sum(s["sequence"] for s in stage) / len(stage)
    if anchors:
        found["offsets"] = regressor(params, found["encoded1"], anchors)
    return found

"""The equations as plain NumPy loops over one recording, in float64, written from the papers and not from `tal_jax`.

Sequences are [T, C]; parameters are the dictionaries that the Linen modules make, kernels [taps, C / groups, O].
"""

import math

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-np.asarray(x, np.float64)))


def relu(x):
    return np.maximum(x, 0.0)


def iou(a, b):
    """Temporal IoU of two segments (start, end)."""
    overlap = max(min(a[1], b[1]) - max(a[0], b[0]), 0.0)
    union = max(a[1] - a[0], 0.0) + max(b[1] - b[0], 0.0) - overlap
    return overlap / union if union > 0 else 0.0


def conv1d(x, kernel, bias=0.0, *, stride=1, dilation=1, groups=1, padding=0):
    """Grouped cross-correlation with zero padding: [T, C] -> [T', O]."""
    taps, group_in, out = kernel.shape
    group_out = out // groups
    length = (len(x) + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    y = np.zeros((length, out))
    for i in range(length):
        for g in range(groups):
            into = slice(g * group_out, (g + 1) * group_out)
            for k in range(taps):
                at = i * stride + k * dilation - padding
                if 0 <= at < len(x):
                    y[i, into] += x[at, g * group_in : (g + 1) * group_in] @ kernel[k, :, into]
    return y + bias


def attention(q, k, v, mask, *, scale, radius=None):
    """Equations 1-3 (with a radius) and 4-6 (without): q, k, v [T, N, H], mask [T] -> [T, N, H]."""
    y = np.zeros(v.shape)
    for i in range(len(q)):
        seen = [j for j in range(len(k)) if mask[j] and (radius is None or abs(i - j) <= radius)]
        for n in range(q.shape[1]):
            if seen:
                scores = np.array([q[i, n] @ k[j, n] * scale for j in seen])
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                y[i, n] = sum(w * v[j, n] for w, j in zip(weights, seen, strict=True))
    return y


def dense(params, x):
    return x @ params["kernel"] + params["bias"]


def layer_norm(params, x):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * params["scale"] + params["bias"]


def lgte(params, x, mask, *, heads, local_heads, window, variant="report"):
    """Equations 1-9, or the released code's block: x [T, C], mask [T] -> [T, C]."""
    t, channels = x.shape
    width = channels // heads
    q, k, v = (dense(params[name], x).reshape(t, heads, width) for name in ("query", "key", "value"))
    scale = 1 / math.sqrt(channels if variant == "report" else width)
    visible = mask if variant == "report" else np.ones(t, bool)
    groups = [
        attention(
            q[:, n : n + 1],
            k[:, n : n + 1],
            v[:, n : n + 1],
            visible,
            scale=scale,
            radius=window // 2 if n < local_heads else None,
        )
        for n in range(heads)
    ]
    f_a = dense(params["out"], np.concatenate(groups, axis=1).reshape(t, channels))
    f_b = layer_norm(params["norm1"], f_a) + f_a if variant == "report" else layer_norm(params["norm1"], x + f_a)
    return layer_norm(params["norm2"], dense(params["ffn_out"], relu(dense(params["ffn_in"], f_b))) + f_b)


def interpolate(x, position):
    """x [T, H] at one position; snippet i's centre is i + 1/2, a neighbour outside counts as zero."""
    low = math.floor(position - 0.5)
    fraction = position - 0.5 - low
    y = np.zeros(x.shape[1])
    for i, weight in ((low, 1 - fraction), (low + 1, fraction)):
        if 0 <= i < len(x):
            y += weight * x[i]
    return y


def proposal_points(proposal, limit, *, context, inside, context_inside=0.0):
    """Positions [2 context + inside] at which one proposal is sampled."""
    s, e = (float(z) for z in proposal)
    half, inner = (e - s) / 2, (e - s) * context_inside
    points = []
    for a, b, n in ((s - half, s + inner, context), (s, e, inside), (e - inner, e + half, context)):
        a, b = min(max(a, 0.0), limit), min(max(b, 0.0), limit)
        points += [a + (b - a) * (i + 0.5) / n for i in range(n)]
    return np.array(points)


def regressor(params, x, proposal, limit, *, groups, context, inside, context_inside=0.0):
    """Equations 10-12 for one proposal: ends [2], center [2], IoU logit, class logits [K]."""
    points = proposal_points(proposal, limit, context=context, inside=inside, context_inside=context_inside)
    sampled = np.stack([interpolate(x, p) for p in points])

    def conv(name, y, **kwargs):
        return conv1d(y, params[name]["kernel"], params[name]["bias"], **kwargs)

    def halve(name, y):
        return relu(conv(name, y, stride=2, padding=1, groups=groups))

    ends = []
    for side, part in (("start", sampled[:context]), ("end", sampled[context + inside :])):
        ends.append(conv(f"{side}_out", halve(f"{side}_conv2", halve(f"{side}_conv1", part)))[0, 0])
    h = relu(conv("segment_conv3", halve("segment_conv2", halve("segment_conv1", sampled)), groups=groups))[0]
    dx, dw, logit = dense(params["segment_out"], h)
    classes = dense(params["class_out"], h) if "class_out" in params else np.zeros(0)
    return np.array(ends), np.array([dx, dw]), logit, classes


def refine(proposal, ends, center, limit, *, tau, ends_scale=1.0, center_scale=(1.0, 1.0)):
    """Equations 13-16 with added offsets, clamped to [0, limit]: one proposal -> one segment."""
    s, e = proposal
    w = e - s
    s1, e1 = s + ends_scale * ends[0] * w, e + ends_scale * ends[1] * w
    x2, w2 = (s + e) / 2 + center_scale[0] * center[0] * w, w * math.exp(center_scale[1] * center[1])
    s2, e2 = x2 - w2 / 2, x2 + w2 / 2
    fused = (tau * s1 + (1 - tau) * s2, tau * e1 + (1 - tau) * e2)
    return np.array([min(max(z, 0.0), limit) for z in fused])


def base(params, features, mask, groups, released=False):
    """Two grouped convolutions with ReLU; padding is zero before and after each, or before the first alone."""
    x = np.where(mask[:, None], features, 0.0)
    for name in ("base1", "base2"):
        kernel = params[name]["kernel"]
        x = conv1d(x, kernel, params[name]["bias"], padding=1, groups=x.shape[1] // kernel.shape[1])
        x = relu(x) if released else np.where(mask[:, None], relu(x), 0.0)
    return x


def encode(params, features, mask, *, encoders, groups, heads, local_heads, window, variant="report",
           encoder_variant=None):  # fmt: skip
    """Base convolutions and LGTEs: [T, C] -> [T, H]."""
    x = base(params, features, mask, groups, released=variant == "released")
    for i in range(encoders):
        block = {"heads": heads, "local_heads": local_heads, "window": window, "variant": encoder_variant or variant}
        x = lgte(params[f"lgte{i + 1}"], x, mask, **block)
        x = x if variant == "released" else np.where(mask[:, None], x, 0.0)
    return x


def tcanet(params, features, mask, duration, proposals, *, stages, groups, context, inside, context_inside=0.0,
           tau=0.5, variant="report", train=False, given=None, **encoder):  # fmt: skip
    """TCANet on one recording: a dictionary of [P, ...] arrays per stage.

    given: the proposals [P, 2] of every stage, instead of the previous stage's segments.
    """
    x = encode(params, features, mask, groups=groups, variant=variant, **encoder)
    released = variant == "released"
    limit = float(len(features)) if released else float(duration)
    scales = {"ends_scale": 0.2 if not train else 1.0, "center_scale": (0.1, 0.2)} if released else {}
    highest = math.inf if released else limit  # of a refined segment; the released code clamps at 0 alone
    sampling = {"groups": groups, "context": context, "inside": inside, "context_inside": context_inside}
    outputs = []
    for stage in range(stages):
        if given is not None:
            proposals = given[stage]
        rows = []
        for proposal in proposals:
            ends, center, logit, classes = regressor(params[f"tbr{stage + 1}"], x, proposal, limit, **sampling)
            refined = refine(proposal, ends, center, highest, tau=tau, **scales)
            rows.append((proposal, ends, center, logit, classes, refined))
        names = ("proposals", "ends", "center", "iou_logit", "class_logits", "segments")
        outputs.append({name: np.stack(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)})
        proposals = outputs[-1]["segments"]
    return outputs


def truncated_weights(low, high, snippets, bins, points):
    """The published ports' loop over the points of a segment's bins: [T, bins]."""
    weights = np.zeros((snippets, bins))
    for i in range(bins * points):
        position = low + (high - low) / (bins * points - 1) * i
        fraction, down = math.modf(position)
        if 0 <= int(down) <= snippets - 1:
            weights[int(down), i // points] += (1 - fraction) / points
        if 0 <= math.ceil(position) <= snippets - 1:
            weights[math.ceil(position), i // points] += fraction / points
    return weights


def matching_weights(t, d, snippets, bins, points, sampling=""):
    """What each snippet contributes to each bin of cell (t, d): [T, bins]."""
    end = t + d + (sampling == "truncated_longer")
    length = end - t + 1
    if sampling:
        return truncated_weights(t - length / 2, end + length / 2, snippets, bins, points)
    grid = np.linspace(t - length / 2, end + length / 2, bins * points)
    weights = np.zeros((snippets, bins))
    for i, position in enumerate(grid):
        low = math.floor(position)
        for j, weight in ((low, low + 1 - position), (low + 1, position - low)):
            if 0 <= j < snippets:
                weights[j, i // points] += weight / points
    return weights


def boundary_matching(x, kernel, *, durations, points, sampling=""):
    """Boundary-matching layer and the convolution over its bins: x [T, P], kernel [bins, P, H] -> [T, D, H].

    Cells that end beyond the sequence are zero, as published.
    """
    y = np.zeros((len(x), durations, kernel.shape[2]))
    for t in range(len(x)):
        for d in range(min(durations, len(x) - t)):
            samples = matching_weights(t, d, len(x), len(kernel), points, sampling).T @ x  # [bins, P]
            for n in range(len(kernel)):
                y[t, d] += samples[n] @ kernel[n]
    return y


def conv2d(params, x):
    """3 x 3 with zero padding: [T, D, C] -> [T, D, O]."""
    y = np.zeros((*x.shape[:2], params["kernel"].shape[-1]))
    for t, d in np.ndindex(*x.shape[:2]):
        for i, j in np.ndindex(3, 3):
            if 0 <= t + i - 1 < x.shape[0] and 0 <= d + j - 1 < x.shape[1]:
                y[t, d] += x[t + i - 1, d + j - 1] @ params["kernel"][i, j]
    return y + params["bias"]


def by_end(y):
    """[T, T, ..] over (start, duration) -> over (start, end); cells with end < start hold the last one's value."""
    x = np.broadcast_to(y[-1, -1], y.shape).copy()
    for t, d in np.ndindex(*y.shape[:2]):
        if t + d < len(y):
            x[t, t + d] = y[t, d]
    return x


def by_duration(y):
    """The inverse of `by_end`, with zeros beyond the sequence."""
    x = np.zeros_like(y)
    for t, d in np.ndindex(*y.shape[:2]):
        if t + d < len(y):
            x[t, d] = y[t, t + d]
    return x


def bmn(params, features, mask, *, durations, groups, points, masked_cells=True, sampling="", map_layout=""):
    """BMN on one recording: start [T], end [T], regression [T, D], classification [T, D] logits, valid [T, D]."""
    x = base(params, features, mask, groups)

    def conv(name, y, groups):
        kernel = params[name]["kernel"]
        return conv1d(y, kernel, params[name]["bias"], padding=len(kernel) // 2, groups=groups)

    start, end = (conv(f"{side}2", relu(conv(f"{side}1", x, groups)), 1)[:, 0] for side in ("start", "end"))
    p = np.where(mask[:, None], relu(conv("proposal", x, 1)), 0.0)
    valid = np.zeros((len(x), durations), bool)
    for t, d in np.ndindex(*valid.shape):
        valid[t, d] = mask[t] and t + d < len(x) and mask[t + d]

    shown = valid if not map_layout else by_end(valid)

    def visible(y):
        return np.where(shown[..., None], y, 0.0) if masked_cells else y

    h = boundary_matching(p, params["matching_kernel"], durations=durations, points=points, sampling=sampling)
    h = relu(dense(params["map1"], relu(h + params["matching_bias"])))
    h = visible(by_end(h) if map_layout else h)
    h = visible(relu(conv2d(params["map3"], visible(relu(conv2d(params["map2"], h))))))
    out = dense(params["map4"], h)
    out = by_duration(out) if map_layout else out
    return {"start": start, "end": end, "regression": out[..., 0], "classification": out[..., 1], "valid": valid}


def soft_nms(found, *, top_k, method="gaussian", sigma=0.4, power=2.0, min_score=0.0, agnostic=False):
    """Picks the best and decays what overlaps it, again and again.

    found: rows (segment, label, score, threshold) of one recording; returns rows (segment, label, score).
    """
    left = list(found)
    kept = []
    while left and len(kept) < top_k:
        best = max(range(len(left)), key=lambda i: (left[i][2], -i))
        segment, label, score, threshold = left.pop(best)
        if score >= min_score:
            kept.append((segment, label, score))
        for i, (other, its_label, its_score, its_threshold) in enumerate(left):
            overlap = iou(segment, other)
            if overlap > threshold and (agnostic or its_label == label):
                factor = {"gaussian": math.exp(-(overlap**power) / sigma), "linear": 1 - overlap, "hard": 0.0}[method]
                left[i] = (other, its_label, its_score * factor, its_threshold)
    return kept


def smooth_l1(error, beta=1.0):
    return 0.5 * error**2 / beta if abs(error) < beta else abs(error) - beta / 2


def cross_entropy(logit, target):
    p = sigmoid(logit)
    return -target * math.log(p) - (1 - target) * math.log(1 - p)

"""TriDet's and TemporalMaxer's own parts in PyTorch, against plain loops and cases by hand."""

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch models need the extra torch")
pytestmark = pytest.mark.usefixtures("seeded_torch")
import torch.nn.functional as F  # noqa: E402

from benchmarks.torch_actionformer import OneStage, Sizes  # noqa: E402
from benchmarks.torch_onestage_loss import Normalizer, Targets, distance_loss, focal, smoothed  # noqa: E402
from benchmarks.torch_tridet import SGPBlock, trident, tridet_loss  # noqa: E402


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("stride", [1, 2])
def test_sgp_block_a_snippet_at_a_time(stride):
    block = SGPBlock(16, 24, 3, 1.2, stride, drop_rate=0.1, spread=0.5).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    x, mask = torch.randn(1, 16, 8), torch.arange(8)[None, None] < 5
    found, halved = block(x, mask)
    t = 8 // stride
    columns = x[0].T
    if stride == 2:
        columns = torch.stack([columns[max(0, 2 * j - 1) : 2 * j + 2].amax(0) for j in range(t)])
    valid = [stride * j < 5 for j in range(t)]
    assert halved[0, 0].tolist() == valid
    h = (columns - columns.mean(1, keepdim=True)) / (columns.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    h = h * block.ln.weight[0, :, 0] + block.ln.bias[0, :, 0]

    def depthwise(conv, j):
        size = conv.weight.shape[2]
        taps = [(m, j + m - size // 2) for m in range(size)]
        return conv.bias + sum(conv.weight[:, 0, m] * h[i] for m, i in taps if 0 <= i < t)

    phi = F.relu(block.global_fc.weight[:, 0, 0] * h.mean(0) + block.global_fc.bias)
    y = torch.stack([
        depthwise(block.fc, j) * phi
        + (depthwise(block.convw, j) + depthwise(block.convkw, j)) * depthwise(block.psi, j) + h[j]
        for j in range(t)
    ])  # fmt: skip
    out = columns * torch.tensor(valid)[:, None] + y * block.drop_path_out.scale[0, :, 0]
    group = out  # 16 groups of one channel: statistics over time, padding too
    group = (group - group.mean(0)) / (group.var(0, unbiased=False) + 1e-5).sqrt() * block.gn.weight + block.gn.bias
    hidden = F.gelu(group @ block.mlp[0].weight[:, :, 0].T + block.mlp[0].bias)
    out = out + (hidden @ block.mlp[2].weight[:, :, 0].T + block.mlp[2].bias) * block.drop_path_mlp.scale[0, :, 0]
    close(found[0].T, out)


def test_trident_by_plain_loops():
    n, classes, t = 3, 2, 5
    start, end, bins = torch.randn(1, classes, t), torch.randn(1, classes, t), torch.rand(1, 2 * (n + 1), t)
    found = trident(start, end, bins)
    for c in range(classes):
        for p in range(t):

            def expected(logits, step, first, c=c, p=p):
                worth = []
                for i in range(n + 1):
                    at = p + step * i
                    worth.append((float(logits[0, c, at]) if 0 <= at < t else 0.0) + float(bins[0, first(i), p]))
                total = sum(math.exp(w) for w in worth)
                return sum(i * math.exp(w) / total for i, w in enumerate(worth))

            assert float(found[0, p, c, 0]) == pytest.approx(expected(start, -1, lambda i: n - i), abs=1e-5)
            assert float(found[0, p, c, 1]) == pytest.approx(expected(end, 1, lambda i: n + 1 + i), abs=1e-5)


def test_boundaries_do_not_teach_the_backbone():
    sizes = Sizes((6,), width=16, head_width=16, windows=(1,) * 6, classes=2, backbone="sgp", head="trident", bins=4)
    model = OneStage(sizes).eval()
    model(torch.randn(1, 6, 64), torch.ones(1, 1, 64, dtype=torch.bool)).flat()[1].sum().backward()
    assert model.start_head.head[0].conv.weight.grad.abs().max() > 0
    with torch.no_grad():
        for parameter in model.reg_head.parameters():
            parameter.zero_()
    model.zero_grad()
    model(torch.randn(1, 6, 64), torch.ones(1, 1, 64, dtype=torch.bool)).flat()[1].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.backbone.parameters())
    assert model.start_head.cls_head.conv.weight.grad.abs().max() > 0


def test_noise_is_for_training():
    sizes = Sizes((6,), width=16, head_width=16, windows=(1,) * 6, backbone="sgp", drop_rate=0.0, noise=0.5)
    model = OneStage(sizes).eval()
    x, mask = torch.randn(1, 6, 64), torch.ones(1, 1, 64, dtype=torch.bool)
    assert torch.equal(model(x, mask).logits[0], model(x, mask).logits[0])
    model.train()
    assert not torch.equal(model(x, mask).logits[0], model(x, mask).logits[0])


def test_the_loss_by_hand_and_its_gradient_through_iou():
    logits = torch.randn(1, 3, 2)
    distances = torch.rand(1, 3, 2, 2).add(0.5).requires_grad_()
    classes = torch.tensor([[[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]])
    targets = Targets(classes, torch.tensor([[[1.0, 2.0], [0.0, 0.0], [1.0, 1.0]]]))
    valid = torch.tensor([[True, True, False]])
    normalizer = Normalizer(10)
    total, by_class, by_distance = tridet_loss(logits, distances, valid, targets, normalizer, 0.5, 0.1, 2.0)
    assert normalizer.value == pytest.approx(9.1)  # one positive point, two pairs
    each = focal(logits, smoothed(classes, 0.1))[0]
    expected_class, expected_distance = each[1].sum(), 0
    for c in range(2):
        found = distances[0, 0, c]
        shared = torch.minimum(found, targets.distances[0, 0]).sum()
        expected_class = expected_class + each[0, c] * (shared / (found.sum() + 3 - shared)) ** 0.5
        expected_distance = expected_distance + distance_loss(found[None], targets.distances[0, :1])[0]
    close(by_class * 9.1, expected_class)
    close(by_distance * 9.1, expected_distance)
    close(total, by_class + 2 * by_distance)
    by_class.backward()
    assert distances.grad[0, 0].abs().min() > 0
    assert distances.grad[0, 1:].abs().max() == 0


def test_without_positives_there_is_no_distance_loss():
    distances = torch.rand(1, 3, 2, 2, requires_grad=True)
    targets = Targets(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2))
    total, _, by_distance = tridet_loss(
        torch.zeros(1, 3, 2), distances, torch.ones(1, 3, dtype=torch.bool), targets, Normalizer()
    )
    total.backward()
    assert float(by_distance.detach()) == 0
    assert not distances.grad.any()


@pytest.mark.parametrize("neck", ["group", "shared"])
def test_temporalmaxer_pools(neck):
    sizes = Sizes((6,), width=8, head_width=8, stem=0, windows=(), classes=2, backbone="maxpool", neck=neck)
    model = OneStage(sizes).eval()
    x, mask = torch.randn(1, 6, 32), torch.arange(32)[None, None] < 21
    features, _ = model.backbone(x, mask)
    for level in range(5):
        below, above = features[level][0], features[level + 1][0]
        for j in range(above.shape[1]):
            pooled = below[:, max(0, 2 * j - 1) : 2 * j + 2].amax(1)
            close(above[:, j], pooled * (j < math.ceil(21 / 2 ** (level + 1))))
    normed = model.neck(features)[0][0]
    if neck == "group":  # of two channels and all snippets, padding too
        parts = features[0][0].reshape(4, -1)
        parts = (parts - parts.mean(1, keepdim=True)) / (parts.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        close(normed, parts.reshape(8, 32))
    else:
        assert len({id(norm) for norm in model.neck.fpn_norms}) == 1
    layered = OneStage(replace(sizes, neck="layer"))
    assert len(layered.state_dict()) == 28 + 12

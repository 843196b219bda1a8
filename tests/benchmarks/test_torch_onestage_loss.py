"""What one-stage detectors learn, in PyTorch: labels by hand and by plain loops, losses, and how they are trained."""

import math
import random

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch models need the extra torch")
pytestmark = pytest.mark.usefixtures("seeded_torch")
from benchmarks import torch_onestage_loss as losses  # noqa: E402
from benchmarks import torch_onestage_training as training  # noqa: E402
from benchmarks.torch_actionformer import OneStage, Sizes, padded  # noqa: E402

POINTS = losses.points_of(64)


def close(found, expected, tolerance=1e-6):
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=tolerance, atol=tolerance, check_dtype=False)


def learnt(segments, labels, points=POINTS, classes=3):
    """The points that learn: {(time, stride): (classes, distances)}, checked to be those of the plain loop."""
    segments, labels = torch.tensor(segments).reshape(-1, 2), torch.tensor(labels, dtype=torch.long)
    found = losses.assign(points, segments, labels, classes)
    slow = losses.assign_slowly(points, segments, labels, classes)
    assert torch.equal(found.classes, slow.classes)
    positive = found.classes.any(1)
    close(found.distances[positive], slow.distances[positive])
    return {
        (int(t), int(s)): (found.classes[n].nonzero()[:, 0].tolist(), found.distances[n].tolist())
        for n, (t, _, _, s) in enumerate(points.tolist())
        if positive[n]
    }


def test_points():
    assert losses.points_of(2304).shape == (4536, 4)
    assert losses.points_of(192).shape == (378, 4)
    assert POINTS[:2].tolist() == [[0, 0, 4, 1], [1, 0, 4, 1]]
    assert POINTS[64:66].tolist() == [[0, 4, 8, 2], [2, 4, 8, 2]]
    assert POINTS[-1].tolist() == [32, 64, 1e4, 32]
    with pytest.raises(ValueError, match="no multiple"):
        losses.points_of(33)


def test_labels_by_hand():
    # c = 11: between 9.5 and 12.5 at stride 1; none of the coarser levels is allowed distances below 4.
    assert learnt([[8.5, 13.5]], [1]) == {
        (10, 1): ([1], [1.5, 3.5]), (11, 1): ([1], [2.5, 2.5]), (12, 1): ([1], [3.5, 1.5]),
    }  # fmt: skip
    # The farther end is exactly 4 away: both levels have the point, ranges being inclusive.
    assert learnt([[6.0, 14.0]], [0]) == {(10, 1): ([0], [4, 4]), (10, 2): ([0], [2, 2]), (8, 2): ([0], [1, 3]),
                                          (12, 2): ([0], [3, 1])}  # fmt: skip
    # Strictly inside: c - 1.5 s = 8.5 and the start itself do not count.
    assert set(learnt([[9.0, 11.0]], [0])) == {(10, 1)}
    # c = 10.5, from 9 to 12; at stride 2 from the start to the end, of which 12 alone is 4 away from an end.
    assert set(learnt([[8.0, 13.0]], [0])) == {(10, 1), (11, 1), (12, 2)}
    # Without an integer inside nothing is learnt; nor without segments.
    assert learnt([[10.2, 10.8]], [0]) == {}
    assert learnt([], []) == {}


def test_the_shortest_wins_and_equals_share_classes():
    both = learnt([[2.0, 17.0], [8.5, 11.5]], [2, 0])
    assert both[10, 1] == ([0], [1.5, 1.5])
    assert both[8, 4] == ([2], [1.5, 2.25])  # the longer one is learnt by another level
    twins = learnt([[9.0, 12.0], [8.0, 11.0], [9.0, 12.0], [8.99, 12.0]], [0, 1, 2, 2])
    assert twins[10, 1] == ([0, 1, 2], [1, 2]), "the first of equals gives the distances"
    assert learnt([[9.0, 12.0], [8.9995, 12.0]], [0, 1])[10, 1][0] == [0, 1]
    assert learnt([[9.0, 12.0], [8.998, 12.0]], [0, 1])[10, 1][0] == [0]
    assert learnt([[9.0, 12.0], [9.0, 12.0]], [1, 1])[10, 1][0] == [1]


def test_overlapping_ranges_feed_two_levels():
    points = losses.points_of(64, losses.OVERLAPPING)
    assert {stride for _, stride in learnt([[9.0, 15.0]], [0], points)} == {1, 2}
    assert len(losses.EGO4D) == 8
    assert len(losses.EGO4D_SLOWFAST) == 7


@pytest.mark.parametrize("seed", range(6))
def test_labels_are_those_of_plain_loops(seed):
    draw = random.Random(seed)
    ranges = losses.RANGES if seed % 2 else losses.OVERLAPPING
    segments, labels = [], []
    for _ in range(12):
        start = draw.uniform(-3, 120)
        segments.append([start, start + 60 * draw.random() ** 2])
        labels.append(draw.randrange(3))
        if draw.random() < 0.4:
            segments.append(segments[-1])
            labels.append(draw.randrange(3))
    assert learnt(segments, labels, losses.points_of(128, ranges))


def test_focal_loss():
    logits, targets = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([1.0, 0.0, 0.3])
    expected = []
    for x, y in zip(logits.tolist(), targets.tolist(), strict=True):
        p = 1 / (1 + math.exp(-x))
        entropy = -y * math.log(p) - (1 - y) * math.log(1 - p)
        right, balance = p * y + (1 - p) * (1 - y), 0.25 * y + 0.75 * (1 - y)
        expected.append(balance * (1 - right) ** 2 * entropy)
    close(losses.focal(logits, targets), expected)
    close(losses.smoothed(torch.tensor([0.0, 1.0]), 0.1), [0.1 / 3, 0.9 + 0.1 / 3])


def test_distance_losses_by_hand():
    found, truth = (
        torch.tensor([[1.0, 2.0], [2.0, 2.0], [0.0, 0.0]]),
        torch.tensor([[2.0, 4.0], [2.0, 2.0], [0.0, 0.0]]),
    )
    close(losses.overlap_loss(found, truth), [0.5, 0.0, 1.0])
    # The middles are (2 - 1) / 2 and (4 - 2) / 2 from the point, the hull is 6 long.
    close(losses.distance_loss(found, truth), [0.5 + (0.5 / 6) ** 2, 0.0, 1.0])


def test_the_whole_loss_by_hand():
    logits, distances = torch.randn(1, 4, 2), torch.rand(1, 4, 2).add(0.1).requires_grad_()
    targets = losses.Targets(
        torch.tensor([[[1.0, 1.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]]), torch.rand(1, 4, 2).add(0.1)
    )
    valid = torch.tensor([[True, True, True, False]])
    normalizer = losses.Normalizer(100)
    total, by_class, by_distance = losses.one_stage_loss(logits, distances, valid, targets, normalizer, 0.2, 2.0)
    assert normalizer.value == pytest.approx(90.2)
    expected = losses.focal(logits[0, :3], losses.smoothed(targets.classes[0, :3], 0.2)).sum() / 90.2
    close(by_class, expected)
    each = losses.distance_loss(distances[0], targets.distances[0])
    close(by_distance, (each[0] + each[2]) / 90.2)
    close(total, by_class + 2 * by_distance)
    one, by_class, by_distance = losses.one_stage_loss(
        logits, distances, valid, targets, normalizer, weight=0, diou=False
    )
    close(one, by_class + by_class / max(by_distance.item(), 0.01) * by_distance)
    none = losses.Targets(torch.zeros(1, 4, 2), torch.zeros(1, 4, 2))
    total, _, by_distance = losses.one_stage_loss(logits, distances, valid, none, losses.Normalizer())
    total.backward()
    assert by_distance.item() == 0
    assert not distances.grad.any()


def test_the_normalizer_runs():
    normalizer = losses.Normalizer(100)
    assert normalizer.update(12) == pytest.approx(91.2)
    assert normalizer.update(0) == pytest.approx(0.9 * 91.2 + 0.1)


def test_a_step_of_training_moves_what_it_should():
    sizes = Sizes((6,), width=8, head_width=8, heads=2, windows=(3,) * 6, classes=2, max_seq_len=64)
    model = OneStage(sizes)
    optimizer = training.optimizer_of(model)
    means = training.MeanWeights(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    x, mask = (torch.cat(parts) for parts in zip(*(padded(torch.randn(6, n), 64) for n in (50, 64)), strict=True))
    segments, labels = [torch.tensor([[3.0, 9.0]]), torch.zeros(0, 2)], [torch.tensor([1]), torch.zeros(0).long()]
    targets = losses.assign_batch(POINTS, segments, labels, 2)
    total, *_ = losses.one_stage_loss(*model.train()(x, mask).flat(), targets, losses.Normalizer())
    norm = training.step(model, optimizer, total, 1e-2, means)
    assert norm > 0
    assert optimizer.param_groups[0]["lr"] == 1e-2
    for (name, mean), (_, new) in zip(means.model.named_parameters(), model.named_parameters(), strict=True):
        close(mean, 0.999 * before[name] + 0.001 * new.detach())
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert "cls_head.cls_head.conv.bias" in moved
    assert "backbone.embd.0.conv.weight" in moved

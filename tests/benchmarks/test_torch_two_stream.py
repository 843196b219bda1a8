"""The PyTorch networks that others are held to have the published sizes and names and follow their equations."""

import functools
import itertools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the PyTorch models need the extra torch")
from benchmarks import torch_encoders, torch_recognition  # noqa: E402
from benchmarks.torch_p3d import P3D  # noqa: E402
from benchmarks.torch_recognition import Recipe, Recognizer  # noqa: E402
from benchmarks.torch_resnest import ResNeSt, SplitAttention  # noqa: E402
from benchmarks.torch_two_stream import TSN, BNInception, ResNet, halve, interlace, mmaction2_names  # noqa: E402

R50, R101, R152, N269 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3), (3, 30, 48, 8)
TINY = {"depths": (1, 2, 2, 1), "width": 8}
FULL = {
    "bn_inception": (BNInception, 10_270_240),
    "bn_inception_flow": (functools.partial(BNInception, 10), 10_292_192),
    "resnet50": (ResNet, 23_508_032),
    "resnet50_flow": (functools.partial(ResNet, in_channels=10), 23_529_984),
    "tsm_resnet101": (functools.partial(ResNet, R101, temporal="shift"), 42_500_160),
    "tin_resnet50": (functools.partial(ResNet, temporal="interlace"), 23_508_032 + 31_008),
    "tin_resnet101": (functools.partial(ResNet, R101, temporal="interlace"), 42_500_160 + 71_757),
    "tin_resnet152": (functools.partial(ResNet, R152, temporal="interlace"), 58_143_808 + 107_898),
    "resnest50": (ResNeSt, 25_434_240),
    "tsm_resnest269": (functools.partial(ResNeSt, N269, 64, images=8), 108_880_480),
    "p3d63": (P3D, 24_925_632),
    "p3d131": (functools.partial(P3D, R101), 47_268_800),
    "p3d199": (functools.partial(P3D, R152), 65_672_640),
    "p3d199_flow": (functools.partial(P3D, R152, in_channels=2), 65_672_640 - 3136),
    "slowfast50_8x8": (torch_encoders.SlowFast, 34_566_488 - 400 * 2305),
    "slowfast101_8x8": (functools.partial(torch_encoders.SlowFast, R101, fusion=5), 61_904_968),
}
SMALL = {  # the network, channels, images, width of its features
    "bn_inception": (lambda: TSN(BNInception(10)), 10, 2, 1024),
    "tsm": (lambda: TSN(ResNet(**TINY, temporal="shift", images=4, every=2)), 3, 4, 256),
    "tin": (lambda: TSN(ResNet(TINY["depths"], 16, temporal="interlace", images=4)), 3, 4, 512),
    "resnest": (lambda: TSN(ResNeSt(**TINY, stem=4, in_channels=10, images=4)), 10, 4, 256),
    "p3d": (lambda: P3D(**TINY, in_channels=2), 2, 16, 256),
    "slowfast": (lambda: torch_encoders.SlowFast(**TINY, in_channels=2), 2, 8, 256 + 32),
}
KEYS = {
    "bn_inception": {
        "base_model.conv1_7x7_s2.bias": (64,), "base_model.inception_5b_pool_proj_bn.running_var": (128,),
        "base_model.inception_3c_double_3x3_2.weight": (96, 96, 3, 3), "base_model.conv1_7x7_s2.weight": (64, 10, 7, 7),
    },
    "tin": {
        "base_model.layer1.0.conv1.net1.biasnet.net.conv.weight": (1, 4, 3),
        "base_model.layer1.0.conv1.net1.biasnet.net.fc.weight": (4, 4),
        "base_model.layer1.0.conv1.net1.biasnet.net.lastlayer.weight": (2, 4),
        "base_model.layer1.0.conv1.net1.weightnet.net.lastlayer.weight": (2, 4, 3),
        "base_model.layer4.0.conv1.net2.weight": (128, 256, 1, 1), "base_model.layer2.0.downsample.1.weight": (128,),
    },
    "resnest": {
        "base_model.conv1.0.weight": (4, 10, 3, 3), "base_model.conv1.4.running_mean": (4,),
        "base_model.conv1.6.weight": (8, 4, 3, 3), "base_model.layer1.0.conv2.conv.weight": (16, 4, 3, 3),
        "base_model.layer1.0.conv2.fc1.bias": (32,), "base_model.layer2.0.downsample.1.weight": (64, 32, 1, 1),
        "base_model.layer1.0.conv1.net.weight": (8, 8, 1, 1), "base_model.layer1.0.downsample.2.weight": (32,),
    },
    "p3d": {
        "conv1_custom.weight": (8, 2, 1, 7, 7), "layer1.0.conv3.weight": (8, 8, 3, 1, 1), "layer1.0.bn4.weight": (32,),
        "layer4.0.conv_normal.weight": (64, 64, 3, 3), "layer4.0.bn_normal.weight": (64,),
        "layer2.0.downsample.0.weight": (64, 32, 1, 1, 1), "layer4.0.downsample.0.weight": (256, 128, 1, 1),
    },
}  # fmt: skip


def made(make):
    torch.manual_seed(0)
    return make()


def drawn(*shape):
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("name", FULL)
def test_the_published_networks_have_as_many_parameters(name):
    make, expected = FULL[name]
    with torch.device("meta"):
        assert sum(p.numel() for p in make().parameters()) == expected


@pytest.mark.parametrize("name", SMALL)
def test_clips_become_features(name):
    make, channels, images, width = SMALL[name]
    model = made(make)
    features = model(drawn(2, channels, images, 32, 32))
    assert features.shape == (2, width)
    assert bool(features.isfinite().all())
    features.square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", KEYS)
def test_tensors_have_the_released_names(name):
    state = made(SMALL[name][0]).state_dict()
    assert {key: tuple(state[key].shape) for key in KEYS[name]} == KEYS[name]


def test_mmaction2_names_the_same_tensors():
    renamed = mmaction2_names(made(SMALL["tin"][0]).state_dict())
    names = {name for name in renamed if name.startswith("backbone.layer2.0.") and name.endswith(".weight")}
    one = "backbone.layer2.0.conv1.conv"
    assert names == {
        f"{one}.net1.offset_net.conv.weight", f"{one}.net1.offset_net.fc1.weight", f"{one}.net1.offset_net.fc2.weight",
        f"{one}.net1.weight_net.conv.weight", f"{one}.net2.weight", "backbone.layer2.0.conv1.bn.weight",
        "backbone.layer2.0.conv2.conv.weight", "backbone.layer2.0.conv2.bn.weight",
        "backbone.layer2.0.conv3.conv.weight", "backbone.layer2.0.conv3.bn.weight",
        "backbone.layer2.0.downsample.conv.weight", "backbone.layer2.0.downsample.bn.weight",
    }  # fmt: skip
    assert {"backbone.conv1.conv.weight", "backbone.conv1.bn.running_mean"} <= set(renamed)
    shifted = mmaction2_names(made(SMALL["tsm"][0]).state_dict())
    assert "backbone.layer2.0.conv1.conv.net.weight" in shifted  # of two blocks the first one
    assert "backbone.layer2.1.conv1.conv.weight" in shifted


def test_deep_networks_shift_in_every_second_block():
    with torch.device("meta"):
        for model in (ResNet(R101, temporal="shift"), ResNeSt(N269, images=8)):
            for j, block in enumerate(model.layer3):
                assert isinstance(block.conv1, torch_encoders.Shift) == (j % 2 == 0)


def test_bn_inception_makes_maps_of_7x7():
    with torch.device("meta"):
        assert BNInception().maps(torch.zeros(1, 3, 224, 224)).shape == (1, 1024, 7, 7)
        sides = [64]
        for _ in range(5):
            sides.append(halve(torch.zeros(1, 1, sides[-1], sides[-1])).shape[-1])
    assert sides == [64, 32, 16, 8, 4, 2]
    ramp = torch.arange(16.0).view(1, 1, 4, 4)
    np.testing.assert_array_equal(halve(ramp)[0, 0], [[10, 11], [14, 15]])


def test_interlacing_follows_its_equations():
    rng = np.random.default_rng(0)
    b, t, c = 3, 5, 8
    x = rng.normal(size=(b, t, c, 2, 2))
    offsets = np.array([[1.75, -0.25], [0.0, 1.0], [-2.0, 0.5]])
    weights = rng.uniform(0, 2, size=(b, t, 2))
    expected = np.zeros_like(x)
    for clip, channel, image in itertools.product(range(b), range(c), range(t)):
        group = channel // (c // 4)
        o = [offsets[clip, 0], offsets[clip, 1], -offsets[clip, 0], -offsets[clip, 1]][group]
        s = math.floor(o)
        for shift, share in ((s, 1 - (o - s)), (s + 1, o - s)):
            if 0 <= image + shift < t:
                expected[clip, image + shift, channel] += share * x[clip, image, channel]
    expected *= np.repeat(np.concatenate([weights, weights], 2), c // 4, 2)[..., None, None]
    tensors = [torch.from_numpy(a).requires_grad_() for a in (x, offsets, weights)]
    np.testing.assert_allclose(interlace(*tensors).detach(), expected, atol=1e-12)
    tensors[1] = torch.from_numpy(offsets + 0.1).requires_grad_()  # away from whole numbers, where there is no gradient
    assert torch.autograd.gradcheck(interlace, tensors)


def test_interlacing_starts_by_moving_half_an_image():
    module = made(SMALL["tin"][0]).base_model.layer1[0].conv1.net1
    for parameter in (module.biasnet.net.lastlayer.weight, module.weightnet.net.lastlayer.weight):
        torch.nn.init.zeros_(parameter)
    x = drawn(2, 4, 16, 3, 3).numpy()  # two clips of four images, of whose 16 channels 4 move
    y = module(torch.from_numpy(x).flatten(0, 1)).detach().numpy().reshape(x.shape)
    np.testing.assert_array_equal(y[:, :, 4:], x[:, :, 4:])
    between = (x[:, 1:, :4] + x[:, :-1, :4]) / 2
    np.testing.assert_allclose(y[:, 1:, :2], between[:, :, :2], atol=1e-3)
    np.testing.assert_allclose(y[:, :-1, 2:4], between[:, :, 2:], atol=1e-3)
    np.testing.assert_allclose(y[:, 0, :2], x[:, 0, :2] / 2, atol=1e-3)  # zeros come in from outside
    np.testing.assert_allclose(y[:, -1, 2:4], x[:, -1, 2:4] / 2, atol=1e-3)


def test_split_attention_weighs_two_groups():
    module = made(lambda: SplitAttention(8)).eval()
    x = drawn(2, 8, 4, 4)
    u = torch.relu(module.bn0(module.conv(x))).detach().numpy().reshape(2, 2, 8, 4, 4)
    gap = torch.from_numpy(u.sum(1).mean((2, 3))[..., None, None])
    scores = module.fc2(torch.relu(module.bn1(module.fc1(gap)))).detach().numpy().reshape(2, 2, 8)
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(module(x).detach(), (shares[..., None, None] * u).sum(1), rtol=1e-5, atol=1e-6)


def test_orders_of_space_and_time_take_turns():
    with torch.device("meta"):
        model = P3D(R50)
    assert "".join(block.order for i in (1, 2, 3) for block in getattr(model, f"layer{i}")) == "ABCABCABCABCA"
    with pytest.raises(ValueError, match="not one"):
        made(SMALL["p3d"][0])(torch.zeros(1, 2, 32, 32, 32))


def recognizer(dropout=0.5):
    torch.manual_seed(0)
    return Recognizer(TSN(ResNet(**TINY, temporal="shift", images=4)), 256, 5, dropout)


def batch(seed=0):
    clips = np.random.default_rng(seed).normal(size=(3, 3, 4, 32, 32)).astype(np.float32)
    return torch.from_numpy(clips), torch.tensor([0, 3, 4])


def test_a_step_is_what_its_recipe_says():
    model, kept = recognizer(), torch.from_numpy(np.random.default_rng(1).integers(0, 2, size=(3, 256)))
    before = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    recipe = Recipe(rate=0.1, nesterov=True, decay=0.01, smoothing=0.1, norm=0.5)
    first, second = torch_recognition.steps(model, [batch(), batch(1)], recipe, kept)
    logs = first.logits - np.log(np.exp(first.logits).sum(1, keepdims=True))
    targets = 0.9 * np.eye(5)[[0, 3, 4]] + 0.02
    assert first.loss == pytest.approx(-(targets * logs).sum(1).mean(), rel=1e-5)
    norms = [math.hypot(*(np.linalg.norm(g) for g in step.gradients.values())) for step in (first, second)]
    assert [first.norm, second.norm] == pytest.approx(norms, rel=1e-5)
    assert min(norms) > recipe.norm
    for name, start in before.items():
        name = name.removeprefix("encoder.")
        velocity, parameter = 0.0, start
        for step, norm in zip((first, second), norms, strict=True):
            gradient = step.gradients[name] * recipe.norm / norm + recipe.decay * parameter
            velocity = 0.9 * velocity + gradient
            parameter = parameter - recipe.rate * (gradient + 0.9 * velocity)
            np.testing.assert_allclose(step.parameters[name], parameter, rtol=1e-4, atol=1e-6)


def test_partial_bn_leaves_all_norms_but_the_first_alone():
    model = recognizer()
    start = torch_recognition.statistics_of(model)
    step = torch_recognition.one_step(model, *batch(), Recipe(partial_bn=True, decay=0.1))
    moved = {name for name, x in step.statistics.items() if not np.array_equal(x, start[name])}
    assert moved == {"base_model.bn1.running_mean", "base_model.bn1.running_var"}
    learned = {name for name in step.gradients if ".bn" in name or "downsample.1" in name}
    assert learned == {"base_model.bn1.weight", "base_model.bn1.bias"}
    np.testing.assert_array_equal(step.parameters["base_model.layer1.0.bn1.weight"], 1)


def test_without_partial_bn_all_statistics_move():
    model = recognizer()
    start = torch_recognition.statistics_of(model)
    step = torch_recognition.one_step(model, *batch())
    assert all(not np.array_equal(x, start[name]) for name, x in step.statistics.items())
    assert set(step.gradients) == set(step.parameters)


def test_statistics_of_bn_inception_are_replaced_fast():
    model = BNInception().train()
    seen = []
    model.conv1_7x7_s2_bn.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    model(drawn(2, 3, 32, 32))
    mean, var = seen[0].mean((0, 2, 3)), seen[0].var((0, 2, 3))
    np.testing.assert_allclose(model.conv1_7x7_s2_bn.running_mean, 0.9 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.conv1_7x7_s2_bn.running_var, 0.1 + 0.9 * var, rtol=1e-4)


def test_biases_and_norms_have_rates_of_their_own():
    torch.manual_seed(0)
    model = Recognizer(TSN(BNInception(10)), 1024, 5)
    scales = torch_recognition.tsn_scales(flow=True, classifier=5)(model)
    assert set(scales) == {name for name, _ in model.named_parameters()}
    name = "encoder.base_model.conv1_7x7_s2"
    assert [scales[f"{name}.weight"], scales[f"{name}.bias"]] == [(5, 1), (10, 0)]
    assert [scales[f"{name}_bn.weight"], scales[f"{name}_bn.bias"]] == [(1, 0), (1, 0)]
    assert scales["encoder.base_model.conv2_3x3.bias"] == (2, 0)
    assert [scales["fc.weight"], scales["fc.bias"]] == [(5, 1), (10, 0)]


def test_throughput_is_measured():
    encoder = torch_encoders.TSM(4, **TINY)
    assert torch_recognition.tsm_rate(2, 4, 32, 5, repeats=1, encoder=encoder, width=256) > 0

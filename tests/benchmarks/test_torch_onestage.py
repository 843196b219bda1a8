"""The PyTorch one-stage detectors have the released sizes and names, follow their equations and mind padding."""

import math
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the PyTorch models need the extra torch")
pytestmark = pytest.mark.usefixtures("seeded_torch")
from benchmarks import torch_onestage_attention as attention  # noqa: E402
from benchmarks import torch_onestage_decoding as decoding  # noqa: E402
from benchmarks.torch_actionformer import Backbone, OneStage, padded, padded_length, positions  # noqa: E402
from benchmarks.torch_onestage_parts import AffineDropPath  # noqa: E402
from benchmarks.torch_onestage_sizes import ACTIONFORMER, TEMPORALMAXER, TRIDET  # noqa: E402
from benchmarks.torch_onestage_training import decayed  # noqa: E402
from benchmarks.torch_tridet import wide_kernel  # noqa: E402

FAMILIES = {"actionformer": ACTIONFORMER, "tridet": TRIDET, "temporalmaxer": TEMPORALMAXER}
PARAMETERS = {
    "actionformer": {
        "thumos": 29_251_612, "activitynet_tsp": 6_943_497, "activitynet_i3d": 8_123_145, "epic_verb": 29_763_177,
        "epic_noun": 30_075_188, "ego4d_s": 32_945_271, "ego4d_o": 34_927_736, "ego4d_e": 18_675_576,
        "ego4d_se": 78_933_624, "ego4d_oe": 77_164_152, "ego4d_soe": 134_048_888,
    },
    "tridet": {
        "thumos": 15_989_604, "activitynet_tsp": 12_811_555, "hacs_slowfast": 51_860_092, "hacs_i3d": 53_412_473,
        "epic_noun": 19_503_532, "epic_verb": 18_594_123,
    },
    "temporalmaxer": {"thumos": 7_117_852, "epic_noun": 7_941_428, "epic_verb": 7_630_441},
}  # fmt: skip
TENSORS = {
    ("actionformer", "thumos"): 229, ("actionformer", "ego4d_s"): 259, ("actionformer", "ego4d_o"): 289,
    ("actionformer", "ego4d_soe"): 295, ("tridet", "thumos"): 192, ("tridet", "activitynet_tsp"): 192,
}  # fmt: skip
SMALL = replace(
    ACTIONFORMER["thumos"], inputs=(6,), width=16, head_width=16, windows=(3, 4, 5, 3, 1, 3), classes=3, max_seq_len=64
)
SMALL_SGP = replace(SMALL, backbone="sgp", head="trident", windows=(3,) * 6, sgp_width=24, sgp_factor=1.2, bins=4)
SMALL_MAXER = replace(SMALL, backbone="maxpool", stem=0, windows=(), neck="group")


def unlike(model, spread=0.3):
    """The model with all weights moved, so that nothing that starts at 0, 1 or 1e-4 hides."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += spread * torch.randn_like(parameter)
    return model.eval()


def empty(sizes):
    with torch.device("meta"):
        return OneStage(sizes)


def number(tensors):
    return sum(x.numel() for x in tensors)


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, check_dtype=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_are_the_released_ones(family):
    found = {name: empty(sizes) for name, sizes in FAMILIES[family].items()}
    assert {name: number(model.parameters()) for name, model in found.items()} == PARAMETERS[family]
    tensors = {(family, name): len(model.state_dict()) for name, model in found.items()}
    assert {key: n for key, n in tensors.items() if key in TENSORS} == {
        k: n for k, n in TENSORS.items() if k[0] == family
    }


def test_names_and_shapes_are_the_released_ones():
    model = empty(ACTIONFORMER["thumos"])
    parts = {name: number(part.parameters()) for name, part in model.named_children()}
    assert parts == {"backbone": 26_061_824, "neck": 6144, "cls_head": 1_605_652, "reg_head": 1_577_992}
    shapes = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    expected = {
        "backbone.embd.0.conv.weight": (512, 2048, 3), "backbone.embd_norm.1.bias": (1, 512, 1),
        "backbone.stem.1.ln1.weight": (1, 512, 1), "backbone.branch.4.ln2.bias": (1, 512, 1),
        "backbone.branch.0.attn.query_conv.conv.weight": (512, 1, 3), "backbone.stem.0.attn.key_norm.bias": (1, 512, 1),
        "backbone.stem.0.attn.value.weight": (512, 512, 1), "backbone.stem.0.attn.proj.bias": (512,),
        "backbone.stem.0.mlp.0.weight": (2048, 512, 1), "backbone.stem.0.mlp.3.bias": (512,),
        "backbone.branch.4.drop_path_attn.scale": (1, 512, 1), "backbone.stem.0.drop_path_mlp.scale": (1, 512, 1),
        "neck.fpn_norms.5.weight": (1, 512, 1), "cls_head.head.1.conv.weight": (512, 512, 3),
        "cls_head.norm.0.bias": (1, 512, 1), "cls_head.cls_head.conv.weight": (20, 512, 3),
        "reg_head.scale.5.scale": (), "reg_head.offset_head.conv.weight": (2, 512, 3),
    }  # fmt: skip
    assert {name: shapes[name] for name in expected} == expected
    assert "backbone.proj.1.conv.bias" in empty(ACTIONFORMER["ego4d_soe"]).state_dict()
    tridet = empty(TRIDET["thumos"]).state_dict()
    assert tridet["backbone.branch.0.gn.weight"].shape == (512,)
    assert tridet["backbone.branch.0.convkw.weight"].shape == (512, 1, 11)
    assert "backbone.branch.0.drop_path_out.scale" in tridet
    assert not [name for name in tridet if "stem" in name and "drop_path" in name]
    assert tridet["start_head.cls_head.conv.weight"].shape == (20, 512, 3)
    assert tridet["reg_head.offset_head.conv.bias"].shape == (34,)


def test_weights_of_convolutions_decay():
    model = empty(ACTIONFORMER["thumos"])
    shapes = {name: p.numel() for name, p in model.named_parameters()}
    found = [(len(names), sum(shapes[name] for name in names)) for names in decayed(model)]
    assert found == [(71, 29_164_032), (158, 87_580)]
    relative = replace(SMALL, relative=True, windows=(3,) * 6)
    assert "backbone.stem.0.attn.rel_pe" in decayed(empty(relative))[1]


def test_first_biases():
    model = OneStage(replace(SMALL, empty=(1,)))
    close(model.cls_head.cls_head.conv.bias, torch.tensor([-4.59512, -13.81551, -4.59512]))
    for name, parameter in model.named_parameters():
        if name.startswith("backbone") and name.endswith("bias"):
            assert not parameter.any(), name
    assert model.reg_head.offset_head.conv.bias.abs().max() == 0


def test_kernels_of_sgp():
    cases = [(1, 5, 11), (3, 1.2, 5), (1, 1.2, 3), (15, 1.2, 19), (15, 1.3, 21), (1, 4, 9), (5, 2, 13)]
    assert [wide_kernel(w, k) for w, k, _ in cases] == [size for *_, size in cases]


def test_lengths_are_padded_as_released():
    divisors = {name: ACTIONFORMER[name].divisor for name in ("thumos", "activitynet_tsp", "epic_verb", "ego4d_s")}
    assert divisors == {"thumos": 576, "activitynet_tsp": 96, "epic_verb": 256, "ego4d_s": 512}
    assert (ACTIONFORMER["ego4d_o"].divisor, TRIDET["activitynet_tsp"].divisor) == (1024, 480)
    assert [padded_length(n, ACTIONFORMER["thumos"]) for n in (5, 2304, 2305)] == [2304, 2304, 2880]


def plain_band(q, k, v, valid, half, position=None):
    """Local attention, a query at a time."""
    out = torch.zeros_like(v)
    batch, heads, t, _ = q.shape
    for b in range(batch):
        for h in range(heads):
            for i in range(t):
                keys = [j for j in range(max(0, i - half), min(t, i + half + 1)) if valid[b, j]]
                if valid[b, i]:
                    scores = [float(q[b, h, i] @ k[b, h, j]) for j in keys]
                    if position is not None:
                        scores = [s + float(position[h, j - i + half]) for s, j in zip(scores, keys, strict=True)]
                    out[b, h, i] = torch.tensor(scores).softmax(0) @ v[b, h, keys]
    return out


@pytest.mark.parametrize(
    ("t", "half", "relative"), [(12, 3, False), (13, 2, True), (7, 4, True), (3, 9, False), (8, 1, True)]
)
def test_both_forms_of_local_attention_are_plain_loops(t, half, relative):
    q, k, v = torch.randn(3, 2, 2, t, 4)
    valid = torch.arange(t) < torch.tensor([[t], [t - t // 3]])
    position = torch.randn(2, 2 * half + 1) if relative else None
    expected = plain_band(q, k, v, valid, half, position)
    close(attention.dense_band(q, k, v, valid, half, position), expected)
    close(attention.blocked_band(q, k, v, valid, half, position), expected)
    whole = attention.attend(q, k, v, valid)[0]
    close(whole, plain_band(q, k, v, valid, t)[0])


@pytest.mark.parametrize(("window", "stride", "relative"), [(5, 1, False), (4, 2, False), (7, 2, True), (1, 2, False)])
@torch.no_grad()
def test_attention_of_a_block_a_snippet_at_a_time(window, stride, relative):
    module = unlike(attention.Attention(8, 2, window, stride, relative=relative))
    x, length, t = torch.randn(1, 8, 12), 7, 12 // stride
    mask = torch.arange(12)[None, None] < length

    def column(conv, norm, last, j):  # a depthwise kernel centred on stride * j, masked, then norm and projection
        out = torch.zeros(8)
        if stride * j < length:
            for tap in range(3):
                if 0 <= stride * j + tap - 1 < 12:
                    out = out + conv.conv.weight[:, 0, tap] * x[0, :, stride * j + tap - 1]
        out = (out - out.mean()) / (out.var(unbiased=False) + 1e-5).sqrt()
        out = out * norm.weight[0, :, 0] + norm.bias[0, :, 0]
        return last.weight[:, :, 0] @ out + last.bias

    names = ("query", "key", "value")
    q, k, v = (
        torch.stack([column(*(getattr(module, n + part) for part in ("_conv", "_norm", "")), j) for j in range(t)])
        for n in names
    )
    q, k, v = (y.reshape(1, t, 2, 4).transpose(1, 2) for y in (q, k, v))
    half = window // 2 if window > 1 else t
    position = module.rel_pe[0, 0] if relative else None
    valid = torch.arange(t)[None] < math.ceil(length / stride)
    mixed = plain_band(q / 2, k, v, valid, half, position).transpose(1, 2).reshape(t, 8)
    expected = (mixed @ module.proj.weight[:, :, 0].T + module.proj.bias) * valid[0, :, None]
    found, halved = module(x, mask)
    close(found[0].T, expected)
    assert halved[0, 0].tolist() == valid[0].tolist()


@pytest.mark.parametrize("sizes", [SMALL, replace(SMALL, absolute=True)])
def test_both_forms_give_one_network(sizes):
    model, other = unlike(OneStage(sizes)), OneStage(replace(sizes, form="dense")).eval()
    other.load_state_dict(model.state_dict())
    x, mask = padded(torch.randn(6, 41), 64)
    for found, expected in zip(model(x, mask).flat(), other(x, mask).flat(), strict=True):
        close(found, expected, 1e-4)


@pytest.mark.parametrize("sizes", [SMALL, SMALL_SGP, SMALL_MAXER])
def test_every_other_snippet_makes_the_mask_of_the_next_level(sizes):
    model = unlike(OneStage(sizes))
    x = torch.randn(2, 6, 64)
    out = model(x, torch.arange(64)[None, None] < torch.tensor([37, 64])[:, None, None])
    assert [m.sum(-1)[:, 0].tolist() for m in out.masks] == [[math.ceil(37 / 2**n), 64 // 2**n] for n in range(6)]
    assert all((logits * ~mask).abs().max() == 0 for logits, mask in zip(out.logits, out.masks, strict=True))
    shapes = [tuple(d.shape) for d in out.distances]
    by_class = sizes.head == "trident"
    assert shapes == [(2, 64 // 2**n, 3, 2) if by_class else (2, 2, 64 // 2**n) for n in range(6)]
    assert min(float(d.detach().min()) for d in out.distances) >= 0
    logits, distances, valid = out.flat()
    assert (logits.shape, valid.shape) == ((2, 126, 3), (2, 126))
    assert distances.shape == ((2, 126, 3, 2) if by_class else (2, 126, 2))
    with pytest.raises(ValueError, match="do not halve"):
        model(x[..., :36], torch.ones(2, 1, 36, dtype=torch.bool))


def difference(model, length, *padded_lengths):
    """By how much results under two padded lengths differ, per level, at each valid snippet."""
    x = torch.randn(model.sizes.inputs[0], length)
    with torch.no_grad():
        one, two = (model(*padded(x, t)).logits for t in padded_lengths)
    counts = [math.ceil(length / 2**level) for level in range(len(one))]
    return [(a[..., :n] - b[..., :n]).abs().amax((0, 1)) for a, b, n in zip(one, two, counts, strict=True)]


def test_padding_counts_where_a_level_has_no_padded_snippet():
    model = unlike(OneStage(replace(ACTIONFORMER["thumos"], inputs=(12,), width=32, head_width=32)))
    assert max(float(level.max()) for level in difference(model, 915, 1152, 2304)) < 5e-5
    finest, second, *_ = difference(model, 1151, 1152, 2304)
    assert finest.max() < 5e-5
    assert second.max() > 0.1
    finest = difference(model, 1152, 1152, 2304)[0]
    assert finest.max() > 0.1
    assert (finest > 5e-5).nonzero()[:, 0].tolist() == list(range(1128, 1152))  # the last 24


def test_padding_always_counts_in_tridet():
    model = unlike(OneStage(SMALL_SGP))
    assert float(difference(model, 20, 64, 128)[0].min()) > 1e-4


def test_positions():
    table = positions(10, 6)
    for channel, (at, wave) in enumerate([(1, math.sin), (1, math.cos), (10000 ** (2 / 6), math.sin)]):
        close(table[0, channel], torch.tensor([wave(t / at) / 6**0.5 for t in range(10)]))
    backbone = Backbone(replace(SMALL, absolute=True)).eval()
    assert "positions" not in backbone.state_dict()
    plain = Backbone(SMALL).eval()
    plain.load_state_dict(backbone.state_dict())
    x, mask = padded(torch.randn(6, 100), 128)
    added = (backbone.embed(x, mask) - plain.embed(x, mask))[0]
    table = positions(64, 16)[0]
    grid = (np.arange(128) + 0.5) / 2 - 0.5  # half-pixel
    expected = np.stack([np.interp(grid, np.arange(64), row) for row in table.numpy()])
    close(added[:, :100], torch.from_numpy(expected)[:, :100])
    assert added[:, 100:].abs().max() == 0
    x, mask = padded(torch.randn(6, 30), 32)
    close((backbone.embed(x, mask) - plain.embed(x, mask))[0, :, :30], table[:, :30])
    with pytest.raises(ValueError, match="in training"):
        backbone.train()(*padded(torch.randn(6, 100), 128))


def test_drop_path_scales_always_and_drops_samples_in_training():
    drop = AffineDropPath(4, 0.25)
    x = torch.ones(4000, 4, 2)
    close(drop.eval()(x), 1e-4 * x)
    out = drop.train()(x).detach()
    values = out.flatten(1)
    assert torch.equal(values, values[:, :1].expand_as(values)), "a sample falls as a whole"
    close(values.unique(), torch.tensor([0, 1e-4 / 0.75]), 1e-9)
    assert abs(float((values[:, 0] > 0).float().mean()) - 0.75) < 0.03


@pytest.mark.parametrize("sizes", [SMALL, SMALL_SGP])
def test_what_the_network_computes_becomes_detections(sizes):
    with torch.no_grad():
        out = unlike(OneStage(sizes))(*padded(torch.randn(6, 41), 64))
    logits, distances, masks = ([x[0].numpy() for x in part] for part in out)
    settings = decoding.Decoding()
    found = decoding.candidates(logits, distances, [mask[0] for mask in masks], settings)
    middle = found.segments.mean(1)
    assert len(found.scores) > 50
    assert found.segments[:, 0].max() < 41
    assert np.isfinite(middle).all()
    assert len(decoding.decode(found, settings).scores) <= 200

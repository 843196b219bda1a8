"""The catalogue: sizes of the networks as published, and their features' widths."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from tal_jax.encoders import catalogue
from tal_jax.encoders.entry import DEEP
from tal_jax.encoders.resnet import ResNet

DOCUMENT = Path(__file__).parents[2] / "docs" / "encoders.md"
FC400 = 2304 * 400 + 400
PARAMETERS = {
    "efficientnet_lite0": 4_652_008 - 1_281_000,
    "efficientnet_lite0_ffmpeg": 4_652_008 - 1_281_000,
    "tsn_bninception": 10_270_240,
    "tsn_bninception_flow": 10_292_192,
    "tsn_resnet50": 23_508_032,
    "tsn_resnet50_flow": 23_529_984,
    "tsn_resnet101": 42_500_160,
    "tsn_resnet152": 58_143_808,
    "tsn_resnest50": 25_434_240,
    "tsn_resnest269": 108_880_480,
    "tsm_resnet50": 23_508_032,
    "tsm_resnet50_flow": 23_529_984,
    "tsm_resnet101": 42_500_160,
    "tsm_resnet152": 58_143_808,
    "tsm_resnest50": 25_434_240,
    "tsm_resnest269": 108_880_480,
    "tsm_resnest269_flow": 108_880_480 + 9 * 7 * 64,
    "tin_resnet50": 23_508_032 + 31_008,
    "tin_resnet101": 42_500_160 + 71_757,
    "tin_resnet101_flow": 42_500_160 + 71_757 + 49 * 7 * 64,
    "slowfast50_4x16": (34.480e6 - FC400, 500),  # published to so many digits, with a classifier of 400 classes
    "slowfast50_8x8": 34_566_488 - FC400,
    "slowfast101_4x16": 61_904_968,
    "slowfast101_8x8": 61_904_968,
    "slowfast101_8x8_flow": 61_904_968 - (49 * 64 + 5 * 49 * 8),
    "slowfast101_8x8_50_50": (53.775e6 - FC400, 500),
    "slowfast101_8x8_50_101": None,
    "slowfast101_16x8": (53.775e6 - FC400, 500),
    "slowfast50_4x16_mmaction2": (34.480e6 - FC400 - 928, 500),  # 928: the batch norms after lateral convolutions
    "slowfast50_8x8_mmaction2": 34_566_488 - FC400 - 928,
    "slowfast101_8x8_mmaction2": (62.91e6 - FC400, 5000),
    "slowfast101_xtemporal": 61_904_040,
    "p3d63": 24_925_632,
    "p3d131": 47_268_800,
    "p3d199": 65_672_640,
    "p3d199_flow": 65_672_640 - 3136,
    "i3d": 12_287_264,
    "i3d_flow": 12_265_312,
    "r2plus1d34_tsp": 63_491_975,
    "videomae_base": 86_227_200,
    "videomae_large": 303_860_736,
    "videomae_huge": 631_607_040,
    "videomae2_base": 86_227_200,
    "videomae2_giant": 1_011_610_752,
    "videomae2_giant_tad": 1_011_610_752,
    "videoprism_base": (114.4e6, 50_000),
    "videoprism_large": (354.0e6, 50_000),
}


def test_every_encoder_is_counted():
    assert list(PARAMETERS) == [encoder.name for encoder in catalogue.ENCODERS]


@pytest.mark.parametrize("encoder", catalogue.ENCODERS, ids=lambda encoder: encoder.name)
def test_parameters_and_width(encoder):
    network = encoder.network(jnp.bfloat16)
    clip = jax.ShapeDtypeStruct((2, encoder.images, encoder.side, encoder.side, encoder.channels), jnp.float32)
    features, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), clip)
    assert features.shape == (2, encoder.width)
    assert features.dtype == jnp.float32
    count = sum(math.prod(x.shape) for x in jax.tree.leaves(variables["params"]))
    published = PARAMETERS[encoder.name]
    if isinstance(published, tuple):
        assert abs(count - published[0]) <= published[1]
    elif published is not None:
        assert count == published


@pytest.mark.parametrize("encoder", catalogue.ENCODERS, ids=lambda encoder: encoder.name)
def test_the_documents_list_it(encoder):
    """Its row in docs/encoders.md, with what the catalogue says."""
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{encoder.name}` |")]
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    clip, rest = cells[1], cells[2:]
    assert clip.split()[0] == str(encoder.images)
    assert ("flow" in clip) == (encoder.channels != 3)
    assert ("stack" in clip) == (encoder.channels == 10)
    assert (f"{encoder.interval} apart" in clip) == (encoder.interval > 1)
    assert encoder.rate is None or f"{encoder.rate:g} a second" in clip
    assert rest == [str(encoder.side), str(encoder.width), encoder.figures, encoder.weights, encoder.licence]


@pytest.mark.parametrize("encoder", catalogue.ENCODERS, ids=lambda encoder: encoder.name)
def test_flow_is_normalised_before_it_is_stacked(encoder):
    of_flow = encoder.name.endswith("_flow")
    assert encoder.channels in ((2, 10) if of_flow else (3,))
    assert len(encoder.preprocessing.mean) == (2 if of_flow else 3)


def test_the_two_streams_of_the_report():
    """Its Table 1: the rows' networks with both inputs, which have features of one width."""
    for row in ("tsm_resnest269", "tsn_bninception", "slowfast101_8x8", "tin_resnet101", "p3d199"):
        assert catalogue.find(row).width == catalogue.find(f"{row}_flow").width


def test_tin_of_152_layers():
    """As published, though the catalogue has none."""
    network = ResNet(depths=DEEP["152"], interlaced=8)
    clip = jax.ShapeDtypeStruct((1, 8, 64, 64, 3), jnp.float32)
    made = jax.eval_shape(network.init, jax.random.key(0), clip)
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(made["params"])) == 58_143_808 + 107_898

"""The PyTorch systems whose checkpoints are read and written: names, constants, and what their numerics need."""

import functools
from typing import Any

from tal_jax.convert.constants import cells, hidden_from_attention, sample_mask
from tal_jax.convert.family import Family
from tal_jax.convert.pyramid_family import PYRAMIDS
from tal_jax.convert.rules import CONV1D, DENSE, Rule, layer, norm

GROUPS = 4
ENCODERS, STAGES = 2, 3


def _encoder(ours: str, theirs: str, *, attention: str, ffn: tuple[str, str]) -> list[Rule]:
    projections = tuple(f"{ours}/{name}" for name in ("query", "key", "value"))
    return [
        Rule(f"{theirs}.{attention}.in_proj_weight", tuple(f"{p}/kernel" for p in projections), DENSE),
        Rule(f"{theirs}.{attention}.in_proj_bias", tuple(f"{p}/bias" for p in projections)),
        *layer(f"{theirs}.{attention}.out_proj", f"{ours}/out", DENSE),
        *layer(f"{theirs}.{ffn[0]}", f"{ours}/ffn_in", DENSE),
        *layer(f"{theirs}.{ffn[1]}", f"{ours}/ffn_out", DENSE),
        *norm(f"{theirs}.norm1", f"{ours}/norm1"),
        *norm(f"{theirs}.norm2", f"{ours}/norm2"),
    ]


def _boundaries(name: str, *, merged: bool) -> list[Rule]:
    """The frame level: two stacks, or one whose first output channels are the start's and whose last the end's."""
    rules = []
    for place, conv in ((0, "conv1"), (2, "conv2"), (4, "out")):
        both = [f"{name}/{side}_{conv}" for side in ("start", "end")]
        if merged:
            rules += layer(f"{name}.reg1se.{place}", both, CONV1D)
        else:
            rules += layer(f"{name}.reg1se.start_reg_conv.{place}", both[0], CONV1D)
            rules += layer(f"{name}.reg1se.end_reg_conv.{place}", both[1], CONV1D)
    return rules


def _tcanet(
    name: str,
    *,
    attention: str,
    mask: str,
    ffn: tuple[str, str],
    merged: bool,
    segment: tuple[str, ...],
    norm_epsilon: float = 0.0,
    fuse: str = "last",
) -> Family:
    rules = layer("x_1d_b_f.0", "base1", CONV1D) + layer("x_1d_b_f.2", "base2", CONV1D)
    for i in range(ENCODERS):
        rules += _encoder(f"lgte{i + 1}", f"lgtes.{i}", attention=attention, ffn=ffn)
    for tbr in (f"tbr{i + 1}" for i in range(STAGES)):
        rules += _boundaries(tbr, merged=merged)
        for theirs, ours in zip(segment[:3], ("conv1", "conv2", "conv3"), strict=True):
            rules += layer(f"{tbr}.reg1xw.{theirs}", f"{tbr}/segment_{ours}", CONV1D)
        rules += layer(f"{tbr}.reg1xw.{segment[3]}", f"{tbr}/segment_out", DENSE, single=(-1,))
    model = {
        "variant": "released", "encoder_variant": "", "norm_epsilon": norm_epsilon, "snippet_head": False,
        "groups": GROUPS, "encoders": ENCODERS, "heads": 8, "local_heads": 4, "window": 9, "stages": STAGES, "tau": 0.5,
        "context": 32, "inside": 64, "context_inside": 0.0, "frame_level": True, "segment_level": True,
    }  # fmt: skip
    options = {
        "thresholds": (0.5, 0.6, 0.7), "match_once": True, "random_negatives": True, "jitter": 0.0,
        "regression_beta": 1.0, "ends_weight": 1.0, "center_weight": 1.0, "confidence_weight": 1.0, "class_weight": 0.0,
        "classes": "video", "fuse": fuse, "proposal_power": 1.0, "confidence_stages": (1,), "nms_method": "gaussian",
        "nms_sigma": 0.4, "nms_power": 2.5, "nms_threshold": 0.0,
    }  # fmt: skip
    widths = {
        "hidden": ("base1/bias", "base2/bias", "lgte1/out/bias", "lgte2/out/bias"),
        "ffn": ("lgte1/ffn_in/bias", "lgte2/ffn_in/bias"),
        "regressor_hidden": tuple(f"tbr{i}/segment_conv{k}/bias" for i in (1, 2, 3) for k in (1, 2, 3)),
        "frame_hidden": tuple(f"tbr{i}/start_conv{k}/bias" for i in (1, 2, 3) for k in (1, 2)),
    }
    masks = {f"lgtes.{i}.{mask}": hidden_from_attention for i in range(ENCODERS)}
    return Family(name, "tcanet", tuple(rules), model, options, widths, masks, groups=GROUPS)


def _bmn(name: str, *, map_axes: tuple[int, ...], longer: bool, by_end: bool) -> Family:
    rules = layer("x_1d_b.0", "base1", CONV1D) + layer("x_1d_b.2", "base2", CONV1D)
    for side in ("start", "end"):
        rules += layer(f"x_1d_{side[0]}.0", f"{side}1", CONV1D) + layer(f"x_1d_{side[0]}.2", f"{side}2", CONV1D)
    rules += layer("x_1d_p.0", "proposal", CONV1D)
    rules += [
        Rule("x_3d_p.0.weight", ("matching_kernel",), CONV1D, single=(-2, -1)),
        Rule("x_3d_p.0.bias", ("matching_bias",)),
    ]
    rules += layer("x_2d_p.0", "map1", DENSE, single=(-2, -1)) + layer("x_2d_p.6", "map4", DENSE, single=(-2, -1))
    rules += layer("x_2d_p.2", "map2", map_axes) + layer("x_2d_p.4", "map3", map_axes)
    model = {
        "groups": GROUPS, "bins": 32, "points": 3, "masked_cells": False,
        "sampling": "truncated_longer" if longer else "truncated", "map_layout": "start_end" if by_end else "",
    }  # fmt: skip
    options = {
        "random_negatives": True, "overlapping_negatives": True, "regression_weight": 10.0, "region": 3.0,
        "classification_power": 1.0, "nms_sigma": 0.4, "nms_threshold": (0.5, 0.9),
    }  # fmt: skip
    widths = {
        "hidden": ("base1/bias", "base2/bias", "start1/bias", "end1/bias"),
        "proposal_hidden": ("proposal/bias",),
        "map_hidden": ("matching_bias",),
        "map_conv_hidden": ("map1/bias", "map2/bias", "map3/bias"),
    }
    constants = {
        "sample_mask": functools.partial(sample_mask, longer=longer, by_end=by_end),
        "bm_mask": functools.partial(cells, by_end=by_end),
    }
    lacked = ("bm_mask",)
    more: Any = {"as_long_as_frame": "durations", "groups": GROUPS}
    return Family(name, "bmn", tuple(rules), model, options, widths, constants, lacked, **more)


# Kernels of the map's convolutions: ours are [start, duration or end, I, O].
_STARTS_LAST, _STARTS_FIRST = (3, 2, 1, 0), (2, 3, 1, 0)
FAMILIES = {
    family.name: family
    for family in (
        _tcanet(
            "tcanet_released",
            attention="self_atten.scale_attention",
            mask="self_atten.mask_matrix",
            ffn=("linear1", "linear2"),
            merged=False,
            segment=("reg_1d_b.0", "reg_1d_b.2", "reg_1d_o.0", "reg_1d_o.2"),
        ),
        _tcanet(
            "tcanet_mmaction2",
            attention="atten.attn",
            mask="mask",
            ffn=("ffn.layers.0.0", "ffn.layers.1"),
            merged=True,
            segment=("0", "2", "4", "6"),
            norm_epsilon=1e-6,
            fuse="all",
        ),
        _bmn("bmn_jjboy", map_axes=_STARTS_FIRST, longer=True, by_end=True),
        _bmn("bmn_mmaction2", map_axes=_STARTS_LAST, longer=False, by_end=False),
        *PYRAMIDS,
    )
}

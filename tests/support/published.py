"""The state dicts of the PyTorch systems as their authors describe them: names, shapes and constants, typed by hand."""

import numpy as np


def _pair(name, *weight):
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def tcanet_released(channels, snippets, hidden=512, ffn=256, frame=128):
    h, f = hidden, frame
    shapes = _pair("x_1d_b_f.0", h, channels // 4, 3) | _pair("x_1d_b_f.2", h, h // 4, 3)
    for i in (0, 1):
        at = f"lgtes.{i}"
        shapes |= {
            f"{at}.self_atten.mask_matrix": (1, 8, snippets, snippets),
            f"{at}.self_atten.scale_attention.in_proj_weight": (3 * h, h),
            f"{at}.self_atten.scale_attention.in_proj_bias": (3 * h,),
        }
        shapes |= _pair(f"{at}.self_atten.scale_attention.out_proj", h, h)
        shapes |= _pair(f"{at}.linear1", ffn, h) | _pair(f"{at}.linear2", h, ffn)
        shapes |= _pair(f"{at}.norm1", h) | _pair(f"{at}.norm2", h)
    for t in (1, 2, 3):
        for side in ("start", "end"):
            at = f"tbr{t}.reg1se.{side}_reg_conv"
            shapes |= _pair(f"{at}.0", f, h // 4, 3) | _pair(f"{at}.2", f, f // 4, 3) | _pair(f"{at}.4", 1, f, 8)
        at = f"tbr{t}.reg1xw"
        shapes |= _pair(f"{at}.reg_1d_b.0", h, h // 4, 3) | _pair(f"{at}.reg_1d_b.2", h, h // 4, 3)
        shapes |= _pair(f"{at}.reg_1d_o.0", h, h // 4, 32) | _pair(f"{at}.reg_1d_o.2", 3, h, 1)
    return shapes


def tcanet_mmaction2(channels, snippets, hidden=512, ffn=256, frame=128):
    h, f = hidden, frame
    shapes = _pair("x_1d_b_f.0", h, channels // 4, 3) | _pair("x_1d_b_f.2", h, h // 4, 3)
    for i in (0, 1):
        at = f"lgtes.{i}"
        shapes |= {
            f"{at}.mask": (1, 8, snippets, snippets),
            f"{at}.atten.attn.in_proj_weight": (3 * h, h),
            f"{at}.atten.attn.in_proj_bias": (3 * h,),
        }
        shapes |= _pair(f"{at}.atten.attn.out_proj", h, h)
        shapes |= _pair(f"{at}.ffn.layers.0.0", ffn, h) | _pair(f"{at}.ffn.layers.1", h, ffn)
        shapes |= _pair(f"{at}.norm1", h) | _pair(f"{at}.norm2", h)
    for t in (1, 2, 3):
        at = f"tbr{t}.reg1se"
        shapes |= _pair(f"{at}.0", 2 * f, h // 4, 3) | _pair(f"{at}.2", 2 * f, f // 4, 3) | _pair(f"{at}.4", 2, f, 8)
        at = f"tbr{t}.reg1xw"
        shapes |= _pair(f"{at}.0", h, h // 4, 3) | _pair(f"{at}.2", h, h // 4, 3)
        shapes |= _pair(f"{at}.4", h, h // 4, 32) | _pair(f"{at}.6", 3, h, 1)
    return shapes


def bmn(channels, snippets, hidden=256, proposal=256, map_hidden=512, map_conv=128):
    h, m = hidden, map_conv
    shapes = _pair("x_1d_b.0", h, channels // 4, 3) | _pair("x_1d_b.2", h, h // 4, 3)
    for side in "se":
        shapes |= _pair(f"x_1d_{side}.0", h, h // 4, 3) | _pair(f"x_1d_{side}.2", 1, h, 1)
    shapes |= _pair("x_1d_p.0", proposal, h, 3) | _pair("x_3d_p.0", map_hidden, proposal, 32, 1, 1)
    shapes |= _pair("x_2d_p.0", m, map_hidden, 1, 1) | _pair("x_2d_p.2", m, m, 3, 3)
    shapes |= _pair("x_2d_p.4", m, m, 3, 3) | _pair("x_2d_p.6", 2, m, 1, 1)
    return shapes | {"sample_mask": (snippets, 32 * snippets**2), "bm_mask": (snippets, snippets)}


SHAPES = {
    "tcanet_released": tcanet_released,
    "tcanet_mmaction2": tcanet_mmaction2,
    "bmn_jjboy": bmn,
    "bmn_mmaction2": bmn,
}
SMALL = {
    "tcanet": {"hidden": 16, "ffn": 8, "frame": 8},
    "bmn": {"hidden": 8, "proposal": 6, "map_hidden": 10, "map_conv": 4},
}


def constants(family, snippets):
    """By name; those of BMN need PyTorch's side."""
    if family.startswith("tcanet"):
        at = np.arange(snippets)
        mask = np.zeros((1, 8, snippets, snippets), bool)
        mask[0, :4] = abs(at[:, None] - at) > 4.5
        name = "self_atten.mask_matrix" if family == "tcanet_released" else "mask"
        return {f"lgtes.{i}.{name}": mask for i in (0, 1)}
    from benchmarks import torch_bmn

    port = family.removeprefix("bmn_")
    return {
        "sample_mask": torch_bmn.published_sample_mask(snippets, port).numpy(),
        "bm_mask": torch_bmn.bm_mask(snippets, port).numpy(),
    }


def state(family, channels, snippets, **sizes):
    """Random weights and the constants; no value is the neutral one that training would start from."""
    rng = np.random.default_rng(0)
    found = {}
    for name, shape in SHAPES[family](channels, snippets, **sizes).items():
        if "mask" in name:
            continue
        if name.endswith("weight") and len(shape) > 1:
            x = rng.normal(size=shape) * np.sqrt(1.5 / np.prod(shape[1:]))
            # As in trained networks: a stage's rounding is not to be the next one's error, times a proposal's width.
            x *= 0.05 if name.startswith("tbr") and shape[0] <= 3 else 1.0
        else:  # above zero, so that most ReLUs are open
            x = 0.05 + 0.1 * rng.normal(size=shape) + (".norm" in name and name.endswith("weight"))
        found[name] = x.astype(np.float32)
    return found | constants(family, snippets)

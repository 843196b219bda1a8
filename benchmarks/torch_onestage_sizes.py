"""The settings of released one-stage detectors: ActionFormer, TriDet and TemporalMaxer, by the data they are for."""

from dataclasses import replace

from benchmarks.torch_actionformer import Sizes

THUMOS = Sizes()
ACTIVITYNET = Sizes(
    (512,), width=256, head_width=256, windows=(7, 7, 7, 7, 7, -1), classes=1, max_seq_len=192, absolute=True
)
EPIC = Sizes((2304,), windows=(9,) * 6)
EGO4D = Sizes((1536,), branch=7, windows=(9,) * 8, classes=110, max_seq_len=1024, absolute=True, dropout=0.1)
ACTIONFORMER = {
    "thumos": THUMOS,
    "activitynet_tsp": ACTIVITYNET,
    "activitynet_i3d": replace(ACTIVITYNET, inputs=(2048,)),
    "epic_verb": replace(EPIC, classes=97),
    "epic_noun": replace(EPIC, classes=300),
    "ego4d_s": replace(EGO4D, inputs=(2304,), branch=6, windows=(9,) * 7),
    "ego4d_o": EGO4D,
    "ego4d_e": replace(EGO4D, inputs=(256,), width=384, head_width=384),
    "ego4d_se": replace(EGO4D, inputs=(2560,), width=768, head_width=768, heads=12),
    "ego4d_oe": replace(EGO4D, inputs=(1792,), width=768, head_width=768, heads=12),
    "ego4d_soe": replace(
        EGO4D, inputs=(2304, 1536, 256), streams=(256, 384, 384), width=1024, head_width=1024, heads=16
    ),
}

TRIDET_THUMOS = Sizes(windows=(1,) * 6, backbone="sgp", head="trident", noise=0.0005)
TRIDET_HACS = replace(
    TRIDET_THUMOS, inputs=(2304,), width=1024, sgp_width=1024, head_width=1024, windows=(3,) * 6, sgp_factor=1.2,
    classes=200, max_seq_len=960, absolute=True, bins=14, head_kernel=5, boundary_kernel=1, noise=0.2,
)  # fmt: skip
TRIDET = {
    "thumos": TRIDET_THUMOS,
    "activitynet_tsp": replace(
        TRIDET_THUMOS, inputs=(512,), width=256, sgp_width=2048, windows=(15,) * 6, sgp_factor=1.3, classes=1,
        max_seq_len=768, absolute=True, bins=12, noise=0.5,
    ),
    "hacs_slowfast": TRIDET_HACS,
    "hacs_i3d": replace(
        TRIDET_HACS, inputs=(2048,), branch=6, windows=(15,) * 7, max_seq_len=512, bins=12, noise=0.0
    ),
    "epic_noun": replace(
        TRIDET_THUMOS, inputs=(2304,), sgp_width=1024, sgp_factor=4.0, classes=300, noise=0.0
    ),
    "epic_verb": replace(
        TRIDET_THUMOS, inputs=(2304,), sgp_width=1024, windows=(5,) * 6, sgp_factor=2.0, classes=97, noise=0.0
    ),
}  # fmt: skip

MAXER = Sizes(stem=0, windows=(), backbone="maxpool", neck="group")
TEMPORALMAXER = {
    "thumos": MAXER,
    "epic_noun": replace(MAXER, inputs=(2304,), classes=300),
    "epic_verb": replace(MAXER, inputs=(2304,), classes=97, neck="shared"),
}

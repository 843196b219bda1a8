"""What is measured: one entry for each row of the table, with the factor to reach and the one to aim for."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Case:
    """A piece of work that both sides do; sizes are those of the models as published."""

    name: str
    title: str
    kind: str  # which pair of makers in `sides`
    sizes: dict[str, Any]  # what the makers are called with
    reach: float  # ratio PyTorch / this project
    aim: float
    memory: tuple[float, float] | None = None  # at most this share of PyTorch's peak memory: reach, aim
    compiled: bool = False  # also measured with torch.compile


def _train(kind: str, title: str, rows: int, reach: float, aim: float, memory=None, compiled=False, **sizes) -> Case:
    t = sizes["snippets"]
    return Case(
        f"{kind}-train-t{t}-b{rows}",
        f"{title} training step, T = {t}, batch {rows}",
        kind,
        {"rows": rows, **sizes},
        reach,
        aim,
        memory,
        compiled,
    )


def _encode(name: str, title: str, rows: int, encoder: str) -> Case:
    return Case(f"encode-{name}", title, "encoder", {"rows": rows, "name": encoder}, 1, 1.5)


_TCANET = {"channels": 2304, "proposals": 100}
CASES = (
    _train("tcanet", "TCANet", 2, 3, 5, compiled=True, snippets=100, **_TCANET),
    _train("tcanet", "TCANet", 8, 3, 5, snippets=100, **_TCANET),
    _train("tcanet", "TCANet", 2, 4, 8, (1 / 2, 1 / 4), snippets=1000, **_TCANET),
    _train("tcanet", "TCANet", 8, 4, 8, (1 / 2, 1 / 4), snippets=1000, **_TCANET),
    Case(
        "tcanet-predict",
        "TCANet inference, T = 1000, 1000 proposals",
        "tcanet_predict",
        {"rows": 1, "snippets": 1000, "channels": 2304, "proposals": 1000},
        4,
        8,
    ),
    _train("bmn", "BMN", 2, 3, 5, (1 / 2, 1 / 4), compiled=True, snippets=100, channels=400),
    _train("bmn", "BMN", 8, 3, 5, (1 / 2, 1 / 4), snippets=100, channels=400),
    _train("bmn", "BMN", 1, 4, 8, (1 / 4, 1 / 8), snippets=200, channels=400),
    _train("mgfn", "KT-MGFN full", 16, 1.5, 3, compiled=True, snippets=200, channels=2048, classes=200),
    Case("nms", "soft-NMS to 100 of 1,000, 256 recordings", "nms", {"rows": 256, "proposals": 1000}, 100, 300),
    Case("records", "reading 10,000 records of 100 x 400, shuffled", "records", {"records": 10_000}, 3, 10),
    _encode("tsm", "TSM ResNet-50, 4 clips of 8 images", 4, "tsm_resnet50"),
    _encode("slowfast", "SlowFast-50 8x8, a clip of 32 images", 1, "slowfast50_8x8"),
    _encode("videomae", "VideoMAE-B, 2 clips of 16 images", 2, "videomae_base"),
    Case("train-tsm", "TSM ResNet-50 training step, 2 clips of 8 images", "recognition", {"rows": 2}, 1, 1.5),
    _train("onestage", "ActionFormer (THUMOS14)", 2, 2, 3, (1 / 2, 1 / 4), snippets=2304, channels=2048, classes=20),
    _train("onestage", "ActionFormer (small)", 16, 3, 5, snippets=256, channels=60, classes=4),
    Case(
        "onestage-predict",
        "ActionFormer (THUMOS14) up to detections, T = 2304",
        "onestage_predict",
        {"rows": 1, "snippets": 2304, "channels": 2048, "classes": 20},
        2,
        4,
    ),
    Case("attention", "local attention W = 9, T = 4,096", "attention", {"snippets": 4096}, 5, 20),
)
# Measured without a counterpart: mAP (the ActivityNet evaluator needs over nine minutes) in seconds, and how the time
# of local attention grows with T.
MAP_RECORDINGS, MAP_CLASSES, MAP_DETECTIONS, MAP_REACH, MAP_AIM = 5981, 200, 1_200_000, 10.0, 4.0
ATTENTION_LENGTHS, ATTENTION_GROWTH = (1024, 2048, 4096, 8192, 16_384), 1.15

"""ResNeSt in plain PyTorch on images, as zhanghang1989/ResNeSt (and timm) name it, and with TSM's shift if wished."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.torch_encoders import Shift
from benchmarks.torch_two_stream import shifted_every


class SplitAttention(nn.Module):
    """Two groups of channels, of which each position gets a mix, by weights that depend on the whole map."""

    def __init__(self, width: int):
        super().__init__()
        between = max(2 * width // 4, 32)
        self.conv = nn.Conv2d(width, 2 * width, 3, padding=1, groups=2, bias=False)
        self.bn0 = nn.BatchNorm2d(2 * width)
        self.fc1 = nn.Conv2d(width, between, 1)
        self.bn1 = nn.BatchNorm2d(between)
        self.fc2 = nn.Conv2d(between, 2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, Y, X]."""
        one, two = functional.relu(self.bn0(self.conv(x))).chunk(2, 1)
        gap = (one + two).mean((2, 3), keepdim=True)
        scores = self.fc2(functional.relu(self.bn1(self.fc1(gap))))
        first, second = torch.softmax(scores.unflatten(1, (2, -1)), 1).unbind(1)
        return first * one + second * two


class Bottleneck(nn.Module):
    """ResNeSt's block: what strides are average pools, after conv2 and in the shortcut."""

    def __init__(self, before: int, inner: int, stride: int, images: int | None):
        super().__init__()
        conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.conv1: nn.Module = Shift(conv1, images) if images else conv1
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = SplitAttention(inner)
        self.avd_layer = nn.AvgPool2d(3, stride, padding=1) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(inner, 4 * inner, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * inner)
        self.downsample: nn.Module | None = None
        if stride > 1 or before != 4 * inner:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(before, 4 * inner, 1, bias=False),
                nn.BatchNorm2d(4 * inner),
            )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, Y, X]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.avd_layer(self.conv2(y))))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNeSt(nn.Module):
    """ResNeSt-50 unless told otherwise; `images` puts a shift over so many images into every block, or every n-th."""

    def __init__(
        self, depths: tuple[int, ...] = (3, 4, 6, 3), stem: int = 32, width: int = 64, in_channels: int = 3,
        images: int | None = None, every: int | None = None,
    ):  # fmt: skip
        super().__init__()
        every = every or shifted_every(depths)
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(),
            nn.Conv2d(stem, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(),
            nn.Conv2d(stem, 2 * stem, 3, 1, 1, bias=False),
        )  # fmt: skip
        self.bn1 = nn.BatchNorm2d(2 * stem)
        before = 2 * stem
        for i, blocks in enumerate(depths):
            inner = width * 2**i
            stage = nn.Sequential()
            for j in range(blocks):
                shift = images if j % every == 0 else None
                stage.append(Bottleneck(before, inner, 2 if i and not j else 1, shift))
                before = 4 * inner
            self.add_module(f"layer{i + 1}", stage)

    def forward(self, images: Tensor) -> Tensor:
        """[B F, C, Y, X] -> [B F, D]."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(images))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))

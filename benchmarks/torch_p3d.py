"""P3D in plain PyTorch, under the names of qijiezhao/pseudo-3d-pytorch."""

from torch import Tensor, nn
from torch.nn import functional


class Bottleneck3D(nn.Module):
    """A block with one convolution in space and one in time, in one of three orders."""

    def __init__(self, before: int, inner: int, stride: int, order: str):
        super().__init__()
        self.order = order
        self.conv1 = nn.Conv3d(before, inner, 1, (1, stride, stride), bias=False)
        self.bn1 = nn.BatchNorm3d(inner)
        self.conv2 = nn.Conv3d(inner, inner, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, inner, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.bn3 = nn.BatchNorm3d(inner)
        self.conv4 = nn.Conv3d(inner, 4 * inner, 1, bias=False)
        self.bn4 = nn.BatchNorm3d(4 * inner)
        self.downsample: nn.Module | None = None
        if stride > 1 or before != 4 * inner:
            self.downsample = nn.Sequential(
                nn.Conv3d(before, 4 * inner, 1, (1, stride, stride), bias=False), nn.BatchNorm3d(4 * inner)
            )

    def _space(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn2(self.conv2(x)))

    def _time(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn3(self.conv3(x)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F, Y, X]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        if self.order == "A":
            y = self._time(self._space(y))
        elif self.order == "B":
            y = self._space(y) + self._time(y)
        else:
            y = self._space(y)
            y = y + self._time(y)
        y = self.bn4(self.conv4(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck2D(nn.Module):
    """The last stage's block, which has no time; its first convolution strides."""

    def __init__(self, before: int, inner: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, inner, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv_normal = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn_normal = nn.BatchNorm2d(inner)
        self.conv4 = nn.Conv2d(inner, 4 * inner, 1, bias=False)
        self.bn4 = nn.BatchNorm2d(4 * inner)
        self.downsample: nn.Module | None = None
        if stride > 1 or before != 4 * inner:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, 4 * inner, 1, stride, bias=False), nn.BatchNorm2d(4 * inner)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, Y, X]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn_normal(self.conv_normal(y)))
        y = self.bn4(self.conv4(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class P3D(nn.Module):
    """P3D-63 unless told otherwise, for clips of 16 images: orders A, B, C take turns over all blocks with time."""

    def __init__(self, depths: tuple[int, ...] = (3, 4, 6, 3), width: int = 64, in_channels: int = 3):
        super().__init__()
        self.conv1_custom = nn.Conv3d(in_channels, width, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        before, count = width, 0
        for i, blocks in enumerate(depths):
            inner = width * 2**i
            stage = nn.Sequential()
            for j in range(blocks):
                stride = 2 if i and not j else 1
                if i < 3:
                    stage.append(Bottleneck3D(before, inner, stride, "ABC"[count % 3]))
                else:
                    stage.append(Bottleneck2D(before, inner, stride))
                before, count = 4 * inner, count + 1
            self.add_module(f"layer{i + 1}", stage)

    def forward(self, clips: Tensor) -> Tensor:
        """[B, C, 16, Y, X] -> [B, D]."""
        x = functional.relu(self.bn1(self.conv1_custom(clips)))
        x = functional.max_pool3d(x, (2, 3, 3), 2, (0, 1, 1))
        for stage in (self.layer1, self.layer2, self.layer3):
            x = functional.max_pool3d(stage(x), (2, 1, 1), (2, 1, 1))
        if x.shape[2] != 1:
            raise ValueError(f"{clips.shape[2]} images leave {x.shape[2]} steps before the last stage, not one")
        return self.layer4(x[:, :, 0]).mean((2, 3))

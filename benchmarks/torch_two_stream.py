"""Networks on single images or stacks of flow in plain PyTorch, under the names that were released.

BN-Inception of TSN (yjxiong/tsn-pytorch), and ResNets as TSN, TSM and TIN (deepcs233/TIN, X-Temporal) have them, with
the names that MMAction2 gives them. `TSN` averages over the images of a clip; ResNeSt and P3D lie in files beside this.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.torch_encoders import ResidualBlock, Shift

# By module: 1x1, 3x3 reduce and 3x3, double reduce and twice 3x3, kind of pool, its projection. 0: there is none.
INCEPTION: dict[str, tuple[int, tuple[int, int], tuple[int, int], str, int]] = {
    "3a": (64, (64, 64), (64, 96), "average", 32),
    "3b": (64, (64, 96), (64, 96), "average", 64),
    "3c": (0, (128, 160), (64, 96), "halve", 0),
    "4a": (224, (64, 96), (96, 128), "average", 128),
    "4b": (192, (96, 128), (96, 128), "average", 128),
    "4c": (160, (128, 160), (128, 160), "average", 128),
    "4d": (96, (128, 192), (160, 192), "average", 128),
    "4e": (0, (128, 192), (192, 256), "halve", 0),
    "5a": (352, (192, 320), (160, 224), "average", 128),
    "5b": (352, (192, 320), (192, 224), "max", 128),
}


def halve(x: Tensor) -> Tensor:
    """Caffe's max pool 3x3/2: no padding, and the last window may hang over the far side."""
    return functional.max_pool2d(x, 3, 2, ceil_mode=True)


class TSN(nn.Module):
    """A network on images, its features averaged over each clip: TSN's consensus, the classifier being linear."""

    def __init__(self, base_model: nn.Module):
        super().__init__()
        self.base_model = base_model

    def forward(self, clips: Tensor) -> Tensor:
        """[B, C, F, Y, X] -> [B, D]."""
        images = clips.transpose(1, 2).flatten(0, 1)
        return self.base_model(images).view(clips.shape[0], clips.shape[2], -1).mean(1)


class BNInception(nn.Module):
    """TSN's BN-Inception: every convolution has a bias, and a norm after it whose statistics move fast."""

    def __init__(self, in_channels: int = 3):
        super().__init__()
        self._add("conv1_7x7_s2", in_channels, 64, 7, 2)
        self._add("conv2_3x3_reduce", 64, 64)
        self._add("conv2_3x3", 64, 192, 3)
        before = 192
        for key, (one, (reduce, three), (narrow, double), pool, proj) in INCEPTION.items():
            name, stride = f"inception_{key}", 2 if pool == "halve" else 1
            if one:
                self._add(f"{name}_1x1", before, one)
            self._add(f"{name}_3x3_reduce", before, reduce)
            self._add(f"{name}_3x3", reduce, three, 3, stride)
            self._add(f"{name}_double_3x3_reduce", before, narrow)
            self._add(f"{name}_double_3x3_1", narrow, double, 3)
            self._add(f"{name}_double_3x3_2", double, double, 3, stride)
            if proj:
                self._add(f"{name}_pool_proj", before, proj)
            before = one + three + double + (proj or before)

    def _add(self, name: str, before: int, width: int, kernel: int = 1, stride: int = 1) -> None:
        self.add_module(name, nn.Conv2d(before, width, kernel, stride, kernel // 2))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(width, momentum=0.9))

    def _run(self, name: str, x: Tensor) -> Tensor:
        return functional.relu(getattr(self, f"{name}_bn")(getattr(self, name)(x)))

    def maps(self, images: Tensor) -> Tensor:
        """[N, C, Y, X] -> the last map [N, 1024, Y / 32, X / 32]."""
        x = halve(self._run("conv1_7x7_s2", images))
        x = halve(self._run("conv2_3x3", self._run("conv2_3x3_reduce", x)))
        for key, (one, _, _, pool, proj) in INCEPTION.items():
            name = f"inception_{key}"
            branches = [self._run(f"{name}_1x1", x)] if one else []
            branches.append(self._run(f"{name}_3x3", self._run(f"{name}_3x3_reduce", x)))
            double = self._run(f"{name}_double_3x3_1", self._run(f"{name}_double_3x3_reduce", x))
            branches.append(self._run(f"{name}_double_3x3_2", double))
            if pool == "average":
                pooled = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=True)
            elif pool == "max":
                pooled = functional.max_pool2d(x, 3, 1, 1)
            else:
                pooled = halve(x)
            branches.append(self._run(f"{name}_pool_proj", pooled) if proj else pooled)
            x = torch.cat(branches, 1)
        return x

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, Y, X] -> [N, 1024]."""
        return self.maps(images).mean((2, 3))


def delay(x: Tensor, steps: Tensor) -> Tensor:
    """Delay each group g of channels of clip b by the whole number steps[b, g], with zeros from outside.

    x [B, F, G, C, Y, X], steps [B, G] -> as x: out[b, t, g] = x[b, t - steps[b, g], g].
    """
    length = x.shape[1]
    source = torch.arange(length, device=x.device)[None, :, None] - steps[:, None]  # [B, F, G]
    inside = ((source >= 0) & (source < length))[..., None, None, None]
    index = source.clamp(0, length - 1)[..., None, None, None].expand_as(x)
    return x.gather(1, index) * inside


def interlace(x: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """TIN's resampling of channels in time, linear between whole images, and their weighting.

    x [B, F, C, Y, X], C divisible by 4; offsets [B, 2] in images; weights [B, F, 2] -> as x. Four groups of channels
    are delayed by o1, o2, -o1, -o2 and weighted by w1, w2, w1, w2.
    """
    offsets = torch.cat([offsets, -offsets], 1)
    groups = x.unflatten(2, (4, -1))
    whole = offsets.floor()
    part = (offsets - whole)[:, None, :, None, None, None]
    moved = (1 - part) * delay(groups, whole.long()) + part * delay(groups, whole.long() + 1)
    return (moved * torch.cat([weights, weights], 2)[..., None, None, None]).flatten(2, 3)


class BiasNet(nn.Module):
    """How far channels move: two offsets per clip, between -2 and 2 images."""

    def __init__(self, channels: int, images: int):
        super().__init__()
        self.net = nn.Module()
        self.net.conv = nn.Conv1d(channels, 1, 3, padding=1)
        self.net.fc = nn.Linear(images, images)
        self.net.lastlayer = nn.Linear(images, 2)
        nn.init.constant_(self.net.lastlayer.bias, 0.5108)

    def forward(self, z: Tensor) -> Tensor:
        """[B, C, F] -> [B, 2]."""
        o = self.net.lastlayer(functional.relu(self.net.fc(self.net.conv(z)[:, 0])))
        return 4 * (torch.sigmoid(o) - 0.5)


class WeightNet(nn.Module):
    """How much moved channels count: two weights per image, between 0 and 2."""

    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.Module()
        self.net.lastlayer = nn.Conv1d(channels, 2, 3, padding=1)
        nn.init.zeros_(self.net.lastlayer.bias)

    def forward(self, z: Tensor) -> Tensor:
        """[B, C, F] -> [B, F, 2]."""
        return 2 * torch.sigmoid(self.net.lastlayer(z)).transpose(1, 2)


class Interlace(nn.Module):
    """TIN's module: the first quarter of the channels moves in time, by learned offsets."""

    def __init__(self, channels: int, images: int):
        super().__init__()
        self.fold, self.images = channels // 4, images
        self.biasnet, self.weightnet = BiasNet(self.fold, images), WeightNet(self.fold)

    def forward(self, x: Tensor) -> Tensor:
        """[B F, C, Y, X]."""
        moving = x[:, : self.fold].unflatten(0, (-1, self.images))
        z = moving.mean((3, 4)).transpose(1, 2)
        moved = interlace(moving, self.biasnet(z), self.weightnet(z)).flatten(0, 1)
        return torch.cat([moved, x[:, self.fold :]], 1)


class Interlaced(nn.Module):
    """A convolution after TIN's module."""

    def __init__(self, net: nn.Conv2d, images: int):
        super().__init__()
        self.net1, self.net2 = Interlace(net.in_channels, images), net

    def forward(self, x: Tensor) -> Tensor:
        """[B F, C, Y, X]."""
        return self.net2(self.net1(x))


def shifted_every(depths: tuple[int, ...]) -> int:
    """TSM's rule: every block has a shift, but every second one of deep networks."""
    return 2 if depths[2] >= 23 else 1


class ResNet(nn.Module):
    """torchvision's ResNet on images: plain (TSN), with TSM's "shift", or with TIN's "interlace" in every block."""

    def __init__(
        self, depths: tuple[int, ...] = (3, 4, 6, 3), width: int = 64, in_channels: int = 3, temporal: str = "none",
        images: int = 8, every: int | None = None,
    ):  # fmt: skip
        super().__init__()
        every = every or (shifted_every(depths) if temporal == "shift" else 1)
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        before = width
        for i, blocks in enumerate(depths):
            inner = width * 2**i
            stage = nn.Sequential()
            for j in range(blocks):
                block = ResidualBlock(before, inner, 2 if i and not j else 1, images)
                block.conv1 = self._in_time(block.conv1.net, temporal if j % every == 0 else "none", images)
                stage.append(block)
                before = 4 * inner
            self.add_module(f"layer{i + 1}", stage)

    @staticmethod
    def _in_time(conv: nn.Conv2d, temporal: str, images: int) -> nn.Module:
        if temporal == "interlace":
            return Interlaced(conv, images)
        return {"none": conv, "shift": Shift(conv, images)}[temporal]

    def forward(self, images: Tensor) -> Tensor:
        """[B F, C, Y, X] -> [B F, D]."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(images))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


MMACTION2 = (
    (r"^base_model\.", ""),
    (r"\.net1\.biasnet\.net\.conv\.", ".net1.offset_net.conv."),
    (r"\.net1\.biasnet\.net\.fc\.", ".net1.offset_net.fc1."),
    (r"\.net1\.biasnet\.net\.lastlayer\.", ".net1.offset_net.fc2."),
    (r"\.net1\.weightnet\.net\.lastlayer\.", ".net1.weight_net.conv."),
    (r"(^|\.)conv(\d)\.(?=net|weight$)", r"\1conv\2.conv."),
    (r"(^|\.)bn(\d)\.", r"\1conv\2.bn."),
    (r"\.downsample\.0\.", ".downsample.conv."),
    (r"\.downsample\.1\.", ".downsample.bn."),
    (r"^", "backbone."),
)


def mmaction2_name(name: str) -> str:
    """MMAction2's name of a tensor of `TSN(ResNet(...))`."""
    for pattern, replacement in MMACTION2:
        name = re.sub(pattern, replacement, name)
    return name


def mmaction2_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `TSN(ResNet(...))` under MMAction2's names, which are the original ones with wrappers."""
    return {mmaction2_name(name): x for name, x in state.items()}

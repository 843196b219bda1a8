"""Three video encoders in plain PyTorch, under the names of the code bases that they come from.

TSM (mit-han-lab/temporal-shift-module), SlowFast (PySlowFast) and VideoMAE (MCG-NJU), from images to pooled features.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Shift(nn.Module):
    """TSM's convolution, before which an eighth of the channels comes from the next image and one from the previous."""

    def __init__(self, net: nn.Module, images: int):
        super().__init__()
        self.net, self.images = net, images

    def forward(self, x: Tensor) -> Tensor:
        """[B F, C, Y, X]."""
        clips = x.view(-1, self.images, *x.shape[1:])
        fold = x.shape[1] // 8
        out = torch.zeros_like(clips)
        out[:, :-1, :fold] = clips[:, 1:, :fold]
        out[:, 1:, fold : 2 * fold] = clips[:, :-1, fold : 2 * fold]
        out[:, :, 2 * fold :] = clips[:, :, 2 * fold :]
        return self.net(out.view_as(x))


class ResidualBlock(nn.Module):
    """torchvision's bottleneck."""

    def __init__(self, before: int, inner: int, stride: int, images: int):
        super().__init__()
        self.conv1: nn.Module = Shift(nn.Conv2d(before, inner, 1, bias=False), images)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, 4 * inner, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * inner)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or before != 4 * inner:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, 4 * inner, 1, stride, bias=False), nn.BatchNorm2d(4 * inner)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, Y, X]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class TSM(nn.Module):
    """ResNet-50 with shifts, as torchvision and TSM have it."""

    def __init__(self, images: int = 8, depths: tuple[int, ...] = (3, 4, 6, 3), width: int = 64):
        super().__init__()
        self.images = images
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        before = width
        for i, blocks in enumerate(depths):
            inner = width * 2**i
            layers = [ResidualBlock(before, inner, 2 if i else 1, images)]
            layers += [ResidualBlock(4 * inner, inner, 1, images) for _ in range(blocks - 1)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*layers))
            before = 4 * inner

    def forward(self, clips: Tensor) -> Tensor:
        """[B, 3, F, Y, X] -> [B, D]."""
        x = clips.transpose(1, 2).flatten(0, 1)
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3)).view(len(clips), self.images, -1).mean(1)


class Branch(nn.Module):
    """The three convolutions of PySlowFast's bottleneck."""

    def __init__(self, before: int, inner: int, stride: int, time: int):
        super().__init__()
        self.a = nn.Conv3d(before, inner, (time, 1, 1), padding=(time // 2, 0, 0), bias=False)
        self.a_bn = nn.BatchNorm3d(inner)
        self.b = nn.Conv3d(inner, inner, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        self.b_bn = nn.BatchNorm3d(inner)
        self.c = nn.Conv3d(inner, 4 * inner, 1, bias=False)
        self.c_bn = nn.BatchNorm3d(4 * inner)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F, Y, X]."""
        x = functional.relu(self.a_bn(self.a(x)), inplace=True)
        x = functional.relu(self.b_bn(self.b(x)), inplace=True)
        return self.c_bn(self.c(x))


class ClipBlock(nn.Module):
    """PySlowFast's block."""

    def __init__(self, before: int, inner: int, stride: int, time: int):
        super().__init__()
        self.branch1: nn.Conv3d | None = None
        if stride > 1 or before != 4 * inner:
            self.branch1 = nn.Conv3d(before, 4 * inner, 1, (1, stride, stride), bias=False)
            self.branch1_bn = nn.BatchNorm3d(4 * inner)
        self.branch2 = Branch(before, inner, stride, time)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F, Y, X]."""
        y = self.branch2(x)
        return functional.relu(y + (x if self.branch1 is None else self.branch1_bn(self.branch1(x))), inplace=True)


class Stem(nn.Module):
    """Both pathways' first convolutions."""

    def __init__(self, slow: int, fast: int, in_channels: int = 3):
        super().__init__()
        for i, (width, time) in enumerate(((slow, 1), (fast, 5))):
            self.add_module(f"pathway{i}_stem", nn.Sequential())
            stem = getattr(self, f"pathway{i}_stem")
            stem.conv = nn.Conv3d(in_channels, width, (time, 7, 7), (1, 2, 2), (time // 2, 3, 3), bias=False)
            stem.bn = nn.BatchNorm3d(width)

    def forward(self, slow: Tensor, fast: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, F, Y, X] each."""
        found = []
        for stem, x in ((self.pathway0_stem, slow), (self.pathway1_stem, fast)):
            x = functional.relu(stem.bn(stem.conv(x)), inplace=True)
            found.append(functional.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1)))
        return found[0], found[1]


class Fuse(nn.Module):
    """The lateral convolution from the fast pathway to the slow one."""

    def __init__(self, fast: int, fusion: int, alpha: int):
        super().__init__()
        self.conv_f2s = nn.Conv3d(fast, 2 * fast, (fusion, 1, 1), (alpha, 1, 1), (fusion // 2, 0, 0), bias=False)
        self.bn = nn.BatchNorm3d(2 * fast)

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        """[B, C, F, Y, X] each -> the slow pathway's new input."""
        return torch.cat([slow, functional.relu(self.bn(self.conv_f2s(fast)), inplace=True)], 1)


class SlowFast(nn.Module):
    """SlowFast 8x8, as FAIR released it."""

    def __init__(
        self, depths: tuple[int, ...] = (3, 4, 6, 3), width: int = 64, alpha: int = 4, beta: int = 8, fusion: int = 7,
        in_channels: int = 3,
    ):  # fmt: skip
        super().__init__()
        self.depths, self.alpha = depths, alpha
        narrow = width // beta
        self.s1 = Stem(width, narrow, in_channels)
        self.s1_fuse = Fuse(narrow, fusion, alpha)
        slow, fast = width + 2 * narrow, narrow
        for i, blocks in enumerate(depths):
            stage = nn.Module()
            for j in range(blocks):
                stride = 2 if i and not j else 1
                one = ClipBlock(slow if not j else 4 * width * 2**i, width * 2**i, stride, 1 if i < 2 else 3)
                two = ClipBlock(fast if not j else 4 * narrow * 2**i, narrow * 2**i, stride, 3)
                stage.add_module(f"pathway0_res{j}", one)
                stage.add_module(f"pathway1_res{j}", two)
            self.add_module(f"s{i + 2}", stage)
            slow, fast = 4 * width * 2**i, 4 * narrow * 2**i
            if i < 3:
                self.add_module(f"s{i + 2}_fuse", Fuse(fast, fusion, alpha))
                slow += 2 * fast

    def forward(self, clips: Tensor) -> Tensor:
        """[B, C, F, Y, X] -> [B, D]."""
        images = clips.shape[2]
        slow, fast = self.s1(clips[:, :, torch.linspace(0, images - 1, images // self.alpha).long()], clips)
        slow = self.s1_fuse(slow, fast)
        for i, blocks in enumerate(self.depths):
            stage = getattr(self, f"s{i + 2}")
            for j in range(blocks):
                slow = getattr(stage, f"pathway0_res{j}")(slow)
                fast = getattr(stage, f"pathway1_res{j}")(fast)
            if i < 3:
                slow = getattr(self, f"s{i + 2}_fuse")(slow, fast)
        return torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1)


class Attention(nn.Module):
    """VideoMAE's: keys have no bias."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D]; with PyTorch's own fused attention, which is faster than the released code."""
        b, n, d = x.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = functional.linear(x, self.qkv.weight, bias).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(seen.transpose(1, 2).reshape(b, n, d))


class Transformer(nn.Module):
    """A pre-norm block."""

    def __init__(self, width: int, heads: int, mlp: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, mlp), nn.Linear(mlp, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D]."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp.fc2(functional.gelu(self.mlp.fc1(self.norm2(x))))


class VideoMAE(nn.Module):
    """ViT-B on tubes of 2 x 16 x 16, with the norm after the mean."""

    def __init__(
        self, width: int = 768, depth: int = 12, heads: int = 12, mlp: int = 3072, images: int = 16, side: int = 224
    ):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv3d(3, width, (2, 16, 16), (2, 16, 16))
        self.blocks = nn.ModuleList(Transformer(width, heads, mlp) for _ in range(depth))
        self.fc_norm = nn.LayerNorm(width, eps=1e-6)
        tokens = images // 2 * (side // 16) ** 2
        angles = np.arange(tokens)[:, None] / 10000 ** (2 * (np.arange(width) // 2) / width)[None]
        table = np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles))
        self.register_buffer("table", torch.from_numpy(table.astype(np.float32)), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """[B, 3, F, Y, X] -> [B, D]."""
        x = self.patch_embed.proj(clips).flatten(2).transpose(1, 2) + self.table
        for block in self.blocks:
            x = block(x)
        return self.fc_norm(x.mean(1))


# By this project's names: the network, images of a clip, rows and columns of an image.
ENCODERS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "tsm_resnet50": (TSM, 8, 224),
    "slowfast50_8x8": (SlowFast, 32, 256),
    "videomae_base": (VideoMAE, 16, 224),
}

"""What TriDet has of its own, in plain PyTorch: the SGP block, boundaries from three heads, the loss that IoU weighs.

Own code after a description of the released network; names of parameters are the released ones.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.torch_onestage_loss import Normalizer, Targets, combined, distance_loss, focal, overlap_loss, smoothed
from benchmarks.torch_onestage_parts import LayerNorm, drop_path, every


def wide_kernel(kernel: int, factor: float) -> int:
    """The kernel of the wider convolution: (kernel + 1) * factor, rounded half to even, then up to an odd number."""
    size = round((kernel + 1) * factor)
    return size + 1 if size % 2 == 0 else size


class SGPBlock(nn.Module):
    """Scalable-granularity perception: the mean of all snippets and two widths of context gate each snippet.

    Nothing but the skip is masked, so that the result depends on the padded length.
    """

    def __init__(
        self, width: int, hidden: int, kernel: int = 1, factor: float = 1.5, stride: int = 1, drop_rate: float = 0.0,
        spread: float = 0.0,
    ):  # fmt: skip
        super().__init__()

        def depthwise(size: int) -> nn.Conv1d:
            return nn.Conv1d(width, width, size, padding=size // 2, groups=width)

        self.stride = stride
        self.downsample = nn.MaxPool1d(3, 2, 1) if stride > 1 else nn.Identity()
        self.ln, self.gn = LayerNorm(width), nn.GroupNorm(16, width)
        self.psi, self.convw = depthwise(kernel), depthwise(kernel)
        self.convkw = depthwise(wide_kernel(kernel, factor))
        self.fc, self.global_fc = depthwise(1), depthwise(1)
        self.mlp = nn.Sequential(nn.Conv1d(width, hidden, 1), nn.GELU(), nn.Conv1d(hidden, width, 1))
        self.drop_path_out, self.drop_path_mlp = drop_path(width, drop_rate), drop_path(width, drop_rate)
        for conv in (self.psi, self.convw, self.convkw, self.fc, self.global_fc):
            nn.init.normal_(conv.weight, 0, spread)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, D, T], [B, 1, T] -> [B, D, T / stride], [B, 1, T / stride]."""
        x, mask = self.downsample(x), every(mask, self.stride)
        h = self.ln(x)
        whole = F.relu(self.global_fc(h.mean(2, keepdim=True)))
        y = self.fc(h) * whole + (self.convw(h) + self.convkw(h)) * self.psi(h) + h
        x = x * mask + self.drop_path_out(y)
        return x + self.drop_path_mlp(self.mlp(self.gn(x))), mask


def trident(start: Tensor, end: Tensor, bins: Tensor) -> Tensor:
    """Distances as expected bins: logits of starts and ends [B, K, T], bins [B, 2 (n + 1), T] -> [B, T, K, 2].

    Snippets beyond the ends of the level count as logit 0, as masked ones do.
    """
    n = bins.shape[1] // 2 - 1
    left, right = bins.transpose(1, 2)[:, None].split(n + 1, -1)  # [B, 1, T, n + 1], for all classes
    index = torch.arange(n + 1, dtype=bins.dtype, device=bins.device)
    before = F.pad(start, (n, 0)).unfold(2, n + 1, 1)  # [B, K, T, n + 1], the snippets t - n .. t
    after = F.pad(end, (0, n)).unfold(2, n + 1, 1)  # t .. t + n
    distances = [(before + left).softmax(-1) @ index.flip(0), (after + right).softmax(-1) @ index]
    return torch.stack(distances, -1).transpose(1, 2)


def tridet_loss(
    logits: Tensor, distances: Tensor, valid: Tensor, targets: Targets, normalizer: Normalizer, power: float = 0.2,
    smoothing: float = 0.0, weight: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Total, class loss and distance loss; a positive's class loss is weighed by IoU ** power, with its gradient.

    logits [B, N, K], distances [B, N, K, 2], valid [B, N]; the distances of a point count once per class it has.
    """
    pairs = targets.classes.bool() & valid[..., None]
    norm = normalizer.update(int(pairs.any(-1).sum()))
    found = distances[pairs]
    truth = targets.distances[:, :, None].expand_as(distances)[pairs]
    each = focal(logits, smoothed(targets.classes, smoothing))
    factor = torch.ones_like(each)
    factor = factor.masked_scatter(pairs, (1 - overlap_loss(found, truth)) ** power)
    by_class = (each * factor)[valid].sum() / norm
    by_distance = distance_loss(found, truth).sum() / norm if len(found) else 0 * distances.sum()
    return combined(by_class, by_distance, weight)

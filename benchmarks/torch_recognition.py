"""Training of recognition in plain PyTorch, as TSN and its successors do it, and how many clips a second it takes.

A step is handed back as NumPy arrays under the names of the state dict, so that another implementation can be held to
it: loss, gradients, the norms' running statistics and all parameters.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.torch_encoders import TSM

Arrays = dict[str, np.ndarray]
NORM = nn.modules.batchnorm._BatchNorm
CONV = nn.modules.conv._ConvNd


class Recognizer(nn.Module):
    """A classifier on dropped-out features of clips."""

    def __init__(self, encoder: nn.Module, width: int, classes: int, dropout: float = 0.5):
        super().__init__()
        self.encoder, self.dropout, self.fc = encoder, dropout, nn.Linear(width, classes)

    def forward(self, clips: Tensor, kept: Tensor | None = None) -> Tensor:
        """[B, C, F, Y, X] -> logits [B, K]; `kept` [B, D] says which features the dropout keeps (default: random)."""
        x = self.encoder(clips)
        if kept is None or not self.training:
            return self.fc(functional.dropout(x, self.dropout, self.training))
        return self.fc(x * kept / (1 - self.dropout))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a step is taken: SGD as torch.optim has it, after clipping by the norm of all gradients together."""

    rate: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    decay: float = 0.0
    smoothing: float = 0.0
    norm: float | None = None
    partial_bn: bool = False
    scales: Callable[[nn.Module], dict[str, tuple[float, float]]] | None = None  # None: 1, 1 for all


@dataclasses.dataclass(frozen=True)
class Step:
    """What a step computed; gradients are those before clipping, without the frozen parameters'."""

    loss: float
    norm: float
    logits: np.ndarray
    gradients: Arrays
    statistics: Arrays
    parameters: Arrays


def released(name: str) -> str:
    """A tensor's name without the recognizer around the encoder; the classifier's are fc.weight and fc.bias."""
    return name.removeprefix("encoder.")


def freeze_norms(model: nn.Module) -> None:
    """TSN's partial BN: all batch norms but the first, in order of registration, keep statistics, scale and offset.

    To be called after every `model.train()`, which would set the norms' mode back.
    """
    for norm in [module for module in model.modules() if isinstance(module, NORM)][1:]:
        norm.eval()
        norm.requires_grad_(False)


def tsn_scales(flow: bool = False, classifier: float = 1.0) -> Callable[[nn.Module], dict[str, tuple[float, float]]]:
    """TSN's factors of rate and decay: biases learn twice as fast, they and norms do not decay.

    With `flow` the first convolution is 5 times as fast; `classifier` is that of the classifier (5 for TSM).
    """

    def scales(model: nn.Module) -> dict[str, tuple[float, float]]:
        found: dict[str, tuple[float, float]] = {}
        first = True
        for name, module in model.named_modules():
            if isinstance(module, NORM):
                found |= {f"{name}.weight": (1.0, 0.0), f"{name}.bias": (1.0, 0.0)}
            elif isinstance(module, CONV | nn.Linear):
                fast = 5.0 if flow and first else classifier if name == "fc" else 1.0
                found |= {f"{name}.weight": (fast, 1.0), f"{name}.bias": (2 * fast, 0.0)}
                first = False
        return found

    return scales


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD over the parameters that are not frozen, each with its factors."""
    scales = recipe.scales(model) if recipe.scales else {}
    groups = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate, decay = scales.get(name, (1.0, 1.0))
            groups.append({"params": [parameter], "lr": recipe.rate * rate, "weight_decay": recipe.decay * decay})
    return torch.optim.SGD(groups, lr=recipe.rate, momentum=recipe.momentum, nesterov=recipe.nesterov)


def _arrays(tensors: Iterable[tuple[str, Tensor | None]]) -> Arrays:
    return {released(name): x.detach().cpu().numpy().copy() for name, x in tensors if x is not None}


def statistics_of(model: nn.Module) -> Arrays:
    """Running means and variances by name."""
    return _arrays((n, x) for n, x in model.named_buffers() if n.endswith(("running_mean", "running_var")))


def steps(
    model: Recognizer, batches: Iterable[tuple[Tensor, Tensor]], recipe: Recipe, kept: Tensor | None = None
) -> Iterator[Step]:
    """One step of training for each of `batches` (clips, labels), with the momentum that earlier ones left."""
    model.train()
    if recipe.partial_bn:
        freeze_norms(model)
    optimizer = optimizer_of(model, recipe)
    for clips, labels in batches:
        optimizer.zero_grad()
        logits = model(clips, kept)
        loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.smoothing)
        loss.backward()
        gradients = _arrays((name, p.grad) for name, p in model.named_parameters())
        limit = float("inf") if recipe.norm is None else recipe.norm
        norm = nn.utils.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        yield Step(
            loss.item(), norm.item(), logits.detach().cpu().numpy(), gradients, statistics_of(model),
            _arrays(model.named_parameters()),
        )  # fmt: skip


def one_step(
    model: Recognizer, clips: Tensor, labels: Tensor, recipe: Recipe | None = None, kept: Tensor | None = None
) -> Step:
    """The first step of training."""
    return next(steps(model, [(clips, labels)], recipe or Recipe(), kept))


def tsm_rate(
    batch: int, images: int = 8, side: int = 224, classes: int = 400, repeats: int = 5, device: str = "cpu",
    half: bool = False, encoder: nn.Module | None = None, width: int = 2048,
) -> float:  # fmt: skip
    """Clips per second of training TSM's ResNet-50, eagerly, by the median step after two that warm up.

    `half` is automatic bfloat16; the batch lies on the device beforehand. Another `encoder` with its `width` will do.
    """
    model = Recognizer(encoder or TSM(images), width, classes).to(device).train()
    optimizer = optimizer_of(model, Recipe(decay=1e-4))
    clips = torch.randn(batch, 3, images, side, side, device=device)
    labels = torch.arange(batch, device=device) % classes
    seconds = []
    for _ in range(2 + repeats):
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            loss = functional.cross_entropy(model(clips), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 20)
        optimizer.step()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return batch / float(np.median(seconds[2:]))

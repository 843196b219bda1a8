"""How one-stage pyramid detectors are trained, in plain PyTorch: decay, a step, the mean of weights."""

import copy

import torch
from torch import Tensor, nn


def decayed(model: nn.Module) -> tuple[list[str], list[str]]:
    """Names of parameters that decay, the weights of convolutions, and of those that do not."""
    weights = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv1d)}
    names = [name for name, _ in model.named_parameters()]
    return [name for name in names if name in weights], [name for name in names if name not in weights]


def optimizer_of(model: nn.Module, rate: float = 1e-4, decay: float = 0.05) -> torch.optim.AdamW:
    """AdamW in two groups."""
    parameters = dict(model.named_parameters())
    does, does_not = ([parameters[name] for name in names] for names in decayed(model))
    return torch.optim.AdamW(
        [{"params": does, "weight_decay": decay}, {"params": does_not, "weight_decay": 0.0}], lr=rate
    )


class MeanWeights:
    """An exponential mean of all weights, from a copy of the first ones on."""

    def __init__(self, model: nn.Module, keep: float = 0.999):
        self.model, self.keep = copy.deepcopy(model).eval().requires_grad_(False), keep

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """To be called after each step."""
        for mean, new in zip(self.model.parameters(), model.parameters(), strict=True):
            mean.copy_(self.keep * mean + (1 - self.keep) * new)


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float, means: MeanWeights | None = None,
    norm: float = 1.0,
) -> float:  # fmt: skip
    """One step at this rate, its gradient clipped by the norm of all of it -> the norm before."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    before = nn.utils.clip_grad_norm_(model.parameters(), norm)
    optimizer.step()
    if means is not None:
        means.update(model)
    return float(before)

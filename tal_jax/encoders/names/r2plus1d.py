"""Names of R(2+1)D's weights: torchvision, and TSP, which has a prefix and other classifiers."""

from tal_jax.encoders.names.layout import Layout, split

_STEM = {"stem_space/conv": "stem.0", "stem_space/bn": "stem.1", "stem_time/conv": "stem.3", "stem_time/bn": "stem.4"}
_PAIR = {"space/conv": "0.0", "space/bn": "0.1", "time/conv": "0.3", "time/bn": "1"}


def _module(path: str) -> str:
    if path in _STEM:
        return _STEM[path]
    block, part, op = split(path)
    layer, number, pair = block.split("_")
    if pair == "shortcut":
        return f"{layer}.{number}.downsample.{0 if op == 'conv' else 1}"
    return f"{layer}.{number}.{pair}.{_PAIR[f'{part}/{op}']}"


LAYOUTS = (
    Layout("torchvision", _module, ("fc",)),
    # Two classifiers, of actions and of whether there is one: neither is of the features alone.
    Layout("tsp", _module, prefixes=("features.", "backbone."), ignored=r"fc\d*\..*"),
)

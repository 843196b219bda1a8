"""Names of BN-Inception's weights: TSN's own, by Caffe's names, alone or within TSN."""

from tal_jax.encoders.names.layout import Layout, split


def _module(path: str) -> str:
    block, part, op = split(path)
    return f"{block}{'_' if part else ''}{part}{'' if op == 'conv' else '_bn'}"


LAYOUTS = (Layout("tsn", _module, ("new_fc", "fc", "last_linear", "fc_action"), ("base_model.", "")),)

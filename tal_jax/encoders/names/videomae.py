"""Names of VideoMAE's weights: MCG-NJU's and OpenGVLab's own, transformers of two generations, MMAction2."""

from collections.abc import Callable, Mapping

from tal_jax.encoders.names.layout import Layout, Rule, Shapes, output_first

BLOCKS = "blocks"
# Modules by our paths; {} is the number of a block. A tuple: the tensors are joined.
Names = Mapping[str, str | tuple[str, ...]]
OWN: Names = {
    "patch": "patch_embed.proj", "fc_norm": "fc_norm", "norm": "norm", "norm1": "blocks.{}.norm1",
    "norm2": "blocks.{}.norm2", "qkv": "blocks.{}.attn.qkv", "q_bias": "blocks.{}.attn.q_bias",
    "v_bias": "blocks.{}.attn.v_bias", "proj": "blocks.{}.attn.proj", "fc1": "blocks.{}.mlp.fc1",
    "fc2": "blocks.{}.mlp.fc2",
}  # fmt: skip
MMACTION2: Names = {
    **{path: f"backbone.{name}" for path, name in OWN.items()},
    "patch": "backbone.patch_embed.projection",
    "fc1": "backbone.blocks.{}.mlp.layers.0.0",
    "fc2": "backbone.blocks.{}.mlp.layers.1",
}
_HEADS = "encoder.layer.{}.attention.attention"
TRANSFORMERS: Names = {
    "patch": "embeddings.patch_embeddings.projection", "norm": "layernorm",
    "norm1": "encoder.layer.{}.layernorm_before", "norm2": "encoder.layer.{}.layernorm_after",
    "qkv": tuple(f"{_HEADS}.{part}" for part in ("query", "key", "value")), "q_bias": f"{_HEADS}.query.bias",
    "v_bias": f"{_HEADS}.value.bias", "proj": "encoder.layer.{}.attention.output.dense",
    "fc1": "encoder.layer.{}.intermediate.dense", "fc2": "encoder.layer.{}.output.dense",
}  # fmt: skip
TRANSFORMERS_4: Names = {**TRANSFORMERS, "q_bias": f"{_HEADS}.q_bias", "v_bias": f"{_HEADS}.v_bias"}
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}


def _rules(names: Names) -> Callable[[Shapes], list[Rule]]:
    def rules(shapes: Shapes) -> list[Rule]:
        made = []
        for path, shape in shapes.items():
            in_block = path.startswith(f"{BLOCKS}/")
            module, _, leaf = path.removeprefix(f"{BLOCKS}/").rpartition("/")
            found = names.get(module or leaf, module)
            parts = (found,) if isinstance(found, str) else found
            end = f".{_LEAVES[leaf]}" if module else ""
            tensors = tuple(f"{part}{end}" for part in parts)
            layers = shape[0] if in_block else 0
            made.append(Rule(path, tensors, shape, output_first(len(shape) - in_block), layers))
        return made

    return rules


LAYOUTS = (
    Layout(
        "videomae",
        rules=_rules(OWN),
        head=("head",),
        prefixes=("", "encoder."),
        ignored=r"decoder\..*|encoder_to_decoder\..*|mask_token",
    ),
    *(
        Layout(name, rules=_rules(names), head=("classifier",), prefixes=("", "videomae."), bare=("fc_norm.",))
        for name, names in (("transformers", TRANSFORMERS), ("transformers_4", TRANSFORMERS_4))
    ),
    Layout("mmaction2", rules=_rules(MMACTION2), head=("cls_head.fc_cls",), ignored=r"data_preprocessor\..*"),
)

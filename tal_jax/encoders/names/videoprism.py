"""Names of VideoPrism's weights: the published npz, whose arrays have the layer as first axis, and transformers."""

from collections.abc import Callable

from tal_jax.encoders.names.layout import Layout, Rule, Shapes
from tal_jax.encoders.videoprism import VideoPrism

_NPZ = {
    "patch": "patch_projection/linear", "spatial_norm": "spatial_ln", "temporal_norm": "temporal_ln",
    "spatial_positions": "spatial_pos_emb/emb_var", "temporal_positions": "temporal_pos_emb/emb_var",
    "norm1": "layer_norm", "norm2": "ff_layer/layer_norm", "query": "self_attention/query",
    "key": "self_attention/key", "value": "self_attention/value", "post": "self_attention/post",
    "fc1": "ff_layer/ffn_layer1/linear", "fc2": "ff_layer/ffn_layer2/linear",
}  # fmt: skip
_TRANSFORMERS = {
    "patch": "spatial_embeddings.patch_embeddings.projection", "spatial_norm": "layernorm1",
    "temporal_norm": "layernorm2", "spatial_positions": "spatial_embeddings.position_embeddings",
    "temporal_positions": "temporal_embeddings.position_embeddings", "norm1": "layernorm_before",
    "norm2": "layernorm_after", "query": "attention.q_proj", "key": "attention.k_proj", "value": "attention.v_proj",
    "post": "attention.o_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2",
}  # fmt: skip
_TORCH_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}


def _parsed(path: str) -> tuple[str, str, str]:
    """Encoder ("spatial", "temporal", or "" outside of layers), module and leaf."""
    first, *parts = path.split("/")
    if first.endswith("_layers"):
        return first.removesuffix("_layers"), parts[0], parts[1]
    return "", first, parts[0] if parts else ""


def _npz(heads: int) -> Callable[[Shapes], list[Rule]]:
    def rule(path: str, shape: tuple[int, ...]) -> Rule:
        encoder, module, leaf = _parsed(path)
        attends = module in ("query", "key", "value", "post")
        leaf = {"kernel": "w", "bias": "b"}[leaf] if attends else leaf
        stack = f"{encoder}_encoder/transformers_stack/x_layers/" if encoder else ""
        name = f"{stack}{_NPZ[module]}{'/' if leaf else ''}{leaf}"
        plain = tuple(range(len(shape)))
        if not attends:
            return Rule(path, (name,), shape, plain, stored=_flat_patch(shape) if module == "patch" else None)
        layers, width, head = shape[0], shape[-1], shape[-1] // heads
        if leaf == "b":
            stored = (layers, width) if module == "post" else (layers, heads, head)
            return Rule(path, (name,), shape, plain, stored=stored)
        # The output projection has its outputs first, the others last.
        axes = (0, 2, 1) if module == "post" else plain
        return Rule(path, (name,), shape, axes, stored=(layers, width, heads, head))

    return lambda shapes: [rule(path, shape) for path, shape in shapes.items()]


def _flat_patch(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row, column and colour of a patch are one axis."""
    return shape if len(shape) == 1 else (shape[0] * shape[1] * shape[2], shape[3])


def _transformers(shapes: Shapes) -> list[Rule]:
    def rule(path: str, shape: tuple[int, ...]) -> Rule:
        encoder, module, leaf = _parsed(path)
        end = f".{_TORCH_LEAVES[leaf]}" if leaf else ""
        name = f"{encoder}_layers.{{}}.{_TRANSFORMERS[module]}{end}" if encoder else f"{_TRANSFORMERS[module]}{end}"
        ndim = len(shape) - bool(encoder)
        axes = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}[ndim]
        if not leaf:
            axes = (0, 1)
        return Rule(path, (name,), shape, axes, layers=shape[0] if encoder else 0)

    return [rule(path, shape) for path, shape in shapes.items()]


def layouts(network: VideoPrism) -> tuple[Layout, ...]:
    """Both; files of the contrastive models (LvT) hold the same network beside others, which are left aside."""
    prefixes = ("", "vision_model.", "video_model.vision_model.")
    # Of classifiers and of the parts of a video and text model.
    ignored = r"(video_model\.)?(auxiliary_layers|head|head_layernorm|contrastive_vision_pooler|classifier)\..*"
    text = r"|text_model\..*|logit_scale"
    return (
        Layout(
            "videoprism",
            rules=_npz(network.heads),
            prefixes=("params/", "params/vision_encoder/"),
            ignored=r"params/(auxiliary_encoder|contrastive_vision_pooler|text_encoder)/.*",
        ),
        Layout("transformers", rules=_transformers, prefixes=prefixes, ignored=ignored + text),
    )

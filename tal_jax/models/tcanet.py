"""TCANet: local-global temporal encoding and progressive boundary refinement of proposals (report, section 2)."""

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Float32

from tal_jax.models.convolution import Conv1D, masked
from tal_jax.models.lgte import LGTE
from tal_jax.models.tbr import RegressorOutput, TemporalBoundaryRegressor, refine
from tal_jax.ops.model_axis import split_over_model
from tal_jax.types import Array


@flax.struct.dataclass
class TCANetOutput:
    """The regressors' outputs, and class logits of every snippet from the encoded features."""

    stages: tuple[RegressorOutput, ...]
    snippet_logits: Float32[Array, "B T K"]  # K = 0 without the snippet head


class TCANet(nn.Module):
    """Base convolutions, `encoders` LGTEs, then `stages` regressors, each refining the segments of the one before.

    variant="report": segments are clamped to the recording, decoded offsets are taken as they are, and tau fuses both
      levels. variant="released": sampling is clamped to the padded window, segments at 0 alone (an end may lie beyond
      the window), (dx, dw) are multiplied by (0.1, 0.2) and, in inference only, (ds, de) by 0.2, as the released code
      does. Its features are zero where padded, but what the base convolutions make of that is not, and the encoders
      see it.
    """

    num_classes: int = 0  # K of the segment-level class head; 0: none
    snippet_head: bool = False  # class logits of every snippet too, for a dense auxiliary loss; not in the report
    hidden: int = 512
    groups: int = 4
    encoders: int = 2
    heads: int = 8
    local_heads: int = 4
    window: int = 9
    ffn: int = 256
    dropout: float = 0.1
    stages: int = 3
    tau: float = 0.5
    regressor_hidden: int = 512
    frame_hidden: int = 128
    context: int = 32
    inside: int = 64
    context_inside: float = 0.0
    frame_level: bool = True
    segment_level: bool = True
    variant: str = "report"
    encoder_variant: str = ""  # of the LGTEs alone; "": as `variant`
    norm_epsilon: float = 0.0  # of the LGTEs' layer norms; 0: 1e-5
    attention: str = "auto"
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        """The regressors and the snippet head, which `refine` applies; `encode` makes the encoder's parts itself."""
        if self.variant not in ("report", "released"):
            raise ValueError(f"variant is 'report' or 'released', not {self.variant!r}")
        for i in range(self.stages):
            regressor = TemporalBoundaryRegressor(
                hidden=self.regressor_hidden,
                frame_hidden=self.frame_hidden,
                groups=self.groups,
                context=self.context,
                inside=self.inside,
                context_inside=self.context_inside,
                num_classes=self.num_classes,
                frame_level=self.frame_level,
                segment_level=self.segment_level,
                dtype=self.dtype,
            )
            setattr(self, f"tbr{i + 1}", regressor)
        if self.snippet_head and self.num_classes:
            self.snippet_out = nn.Dense(self.num_classes, dtype=self.dtype)

    def __call__(
        self,
        features: Float[Array, "B T C"],
        mask: Bool[Array, "B T"],
        duration: Float[Array, "B"],
        proposals: Float[Array, "B P 2"],
        *,
        train: bool,
    ) -> TCANetOutput:
        """Refines proposals.

        Args:
          features: of the recordings.
          mask: True where a snippet is real.
          duration: in snippet units.
          proposals: in snippet units.
          train: dropout on; needs a `dropout` rng.

        Returns:
          One `RegressorOutput` per stage, and the snippets' class logits.
        """
        return self.refine(self.encode(features, mask, train=train), duration, proposals, train=train)

    @nn.compact
    def encode(
        self, features: Float[Array, "B T C"], mask: Bool[Array, "B T"], *, train: bool
    ) -> Float[Array, "B T {self.hidden}"]:
        """Base convolutions and LGTEs."""
        released = self.variant == "released"
        x = masked(features.astype(self.dtype), mask)
        # The first convolution is grouped only where the input's channels allow it.
        groups_in = self.groups if x.shape[-1] % self.groups == 0 else 1
        for name, groups in (("base1", groups_in), ("base2", self.groups)):
            x = nn.relu(Conv1D(self.hidden, 3, groups=groups, dtype=self.dtype, name=name)(x))
            x = x if released else masked(x, mask)
        for i in range(self.encoders):
            encoder = LGTE(
                heads=self.heads,
                local_heads=self.local_heads,
                window=self.window,
                ffn=self.ffn,
                dropout=self.dropout,
                variant=self.encoder_variant or self.variant,
                norm_epsilon=self.norm_epsilon,
                implementation=self.attention,
                dtype=self.dtype,
                name=f"lgte{i + 1}",
            )
            x = encoder(x, mask, train=train)
            x = x if released else masked(x, mask)
        return x

    def refine(
        self,
        x: Float[Array, "B T H"],
        duration: Float[Array, "B"],
        proposals: Float[Array, "B P 2"],
        *,
        train: bool,
    ) -> TCANetOutput:
        """The regressors, and the snippet head, on encoded features x; the rest as in `__call__`."""
        released = self.variant == "released"
        proposals = split_over_model(proposals, 1)
        limit = jnp.full_like(duration, x.shape[1]) if released else duration
        tau = self.tau if self.frame_level and self.segment_level else float(self.frame_level)
        outputs = []
        for i in range(self.stages):
            ends, center, iou_logit, class_logits = getattr(self, f"tbr{i + 1}")(x, proposals, limit)
            refined = refine(
                proposals,
                ends,
                center,
                None if released else limit,
                tau=tau,
                ends_scale=0.2 if released and not train else 1.0,
                center_scale=(0.1, 0.2) if released else (1.0, 1.0),
            )
            outputs.append(RegressorOutput(proposals, ends, center, iou_logit, class_logits, refined))
            # A stage learns from the proposals it is given; it does not answer for where they came from.
            proposals = lax.stop_gradient(refined)
        if self.snippet_head and self.num_classes:
            snippet_logits = self.snippet_out(x).astype(jnp.float32)
        else:
            snippet_logits = jnp.zeros((*x.shape[:2], 0), jnp.float32)
        return TCANetOutput(tuple(outputs), snippet_logits)

"""The trimmed branch as a task: the classifiers of an MGFN alone, on trimmed clips."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from tal_jax.tasks.mgfn import BranchSettings, MGFNTask, pooled_features
from tal_jax.tasks.task import CLIP_FEATURES, CLIPS, Params, Settings
from tal_jax.types import Array, Batch


@dataclasses.dataclass(frozen=True)
class TrimmedTask(MGFNTask):
    """The classifiers of an MGFN on trimmed clips, whose pooled features the untrimmed branch learns to resemble."""

    makes: ClassVar = CLIP_FEATURES
    accepts: ClassVar[tuple[str, ...]] = ()
    learns_from: ClassVar = CLIPS
    tunable: ClassVar = False
    splices: ClassVar = False
    settings: ClassVar[type[Settings]] = BranchSettings
    # It regresses nothing.
    from_data: ClassVar[tuple[str, ...]] = ("num_classes", "streams", "anchors", "regressor_hidden")

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """It takes no artifact: clip features come from it."""
        return ()

    def clip_features(self, params: Params, batch: Batch) -> Array:
        """Pooled features of the classes of each clip, [B, S R, D]: S passes of R branches each."""
        output, _ = self.forward(params, batch, batch.labels)
        return pooled_features(output.stages, batch.labels)

    def clip_feature_width(self) -> int:
        """0: its loss compares with no clip features."""
        return 0

"""One self-contained page on detections: tables, figures, error diagnosis, and a browser over recordings."""

from tal_jax.report.analysis import Analysis, analyse
from tal_jax.report.figure import require_libraries
from tal_jax.report.inputs import Curve, Material
from tal_jax.report.names import named
from tal_jax.report.page import compose, write_report

__all__ = ["Analysis", "Curve", "Material", "analyse", "compose", "named", "require_libraries", "write_report"]

"""Calcification or ossification: a description of what is resolved, never a diagnosis (clinical.md G)."""

from __future__ import annotations

from monitor._describe.shape import SHELL_HU
from monitor._describe.zones import Zones

SLICE_MM = 1.5
"""Thicker slices do not resolve cortex from marrow, mm (clinical.md G)."""

CORTEX_PCT = 75.0
"""Share of the surface that a cortex covers, per cent."""

MARROW_FRACTION = 0.05
"""Least share of fatty marrow."""

TRABECULAR_HU = (100.0, 500.0)
"""Mean of a trabecular core, HU: spongy bone of a child is 200 to 400 (Schreiber 2011, table 1)."""

DENSE_HU = 200.0
"""Least mean HU of a core that is called calcification: fainter ones may be immature bone."""


def kind(zones: Zones, slice_mm: float) -> str:
    """Return ossification, calcification or indeterminate, given the thickness of the slices."""
    if not zones.resolved or not slice_mm <= SLICE_MM:
        return "indeterminate"
    rim = zones.rim_completeness_pct >= CORTEX_PCT and zones.rim_core_hu >= SHELL_HU
    trabecular = TRABECULAR_HU[0] <= zones.core_hu <= TRABECULAR_HU[1]
    if rim and (zones.marrow_fat_fraction >= MARROW_FRACTION or trabecular):
        return "ossification"
    return "calcification" if zones.rim_core_hu < SHELL_HU and zones.core_hu >= DENSE_HU else "indeterminate"

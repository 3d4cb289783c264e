"""Numbers, verdicts and statuses in words: the same on the page, in the report and on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from monitor.types import Reason

RESEARCH_ONLY = "Research use only, not for diagnosis."
"""Stands wherever numbers are shown."""

THIN = "\u202f"
"""Narrow space that does not break: between groups of digits, and between a number and its unit."""

MISSING = "–"
"""A cell without a number."""


class Mark(NamedTuple):
    """A word with a symbol, so that colour is never all there is, and the name of its colour."""

    symbol: str
    word: str
    tone: str


QUANTITIES = {
    "volume_mm3": "Volume of mineral",
    "excess_hu_mm3": "Excess HU",
    "mass_mg": "Mass",
    "agatston": "Agatston score",
    "n_lesions": "Lesions",
    "n_regions": "Regions involved",
    "threshold_volume_mm3": "Volume above the threshold",
    "envelope_mm3": "Envelope volume",
    "volume_mm3_per_m2": "Volume of mineral per body surface",
    "excess_hu_mm3_per_m2": "Excess HU per body surface",
    "volume_mm3_per_cm": "Volume of mineral per cm of vessel",
    "excess_hu_mm3_per_cm": "Excess HU per cm of vessel",
    "volume_mm3_per_growth": "Volume of mineral less the body's growth",
    "excess_hu_mm3_per_growth": "Excess HU less the body's growth",
}
"""Quantities by the names of the tables, in the order in which they are offered."""

BESIDE = {
    "agatston_130hu": "Agatston score, bins of 120 kV at any voltage",
    "agatston_4px": "Agatston score, regions of 4 pixels",
    "agatston_2d4": "Agatston score, regions joined over edges",
    "agatston_3d_peak": "Agatston score, peak of the lesion",
    "agatston_unscaled": "Agatston score, not scaled to 3 mm",
    "agatston_2d4_unscaled": "Agatston score, regions joined over edges, not scaled to 3 mm",
    "threshold_volume_iso_mm3": "Volume above the threshold, interpolated",
    "threshold_mass_mg": "Mass above the threshold",
    "spatially_weighted_mm3": "Spatially weighted calcium score",
    "mass_tissue_mg": "Mass, HU scale by air, fat and muscle",
}
"""Quantities that tables and exports hold so that a site can match its own; page and report do not offer them."""

VERDICTS = {
    "increased": Mark("▲", "increased", "more"),
    "decreased": Mark("▼", "decreased", "less"),
    "no_detectable_change": Mark("=", "no detectable change", "same"),
    "not_comparable": Mark("×", "not comparable", "unknown"),
}
"""Verdicts of table ``changes``."""

STATUSES = {
    "baseline": Mark("●", "baseline", "same"),
    "new": Mark("✚", "new", "more"),
    "first_seen": Mark("◌", "first seen", "unknown"),
    "grown": Mark("▲", "grown", "more"),
    "stable": Mark("=", "stable", "same"),
    "shrunk": Mark("▼", "shrunk", "less"),
    "resolved": Mark("○", "resolved", "less"),
    "merged": Mark("⤙", "merged", "unknown"),
    "split": Mark("⤚", "split", "unknown"),
    "not_in_field": Mark("∅", "not in the field", "unknown"),
}
"""Statuses of table ``lesions``."""

REASONS = {
    Reason.BONE: "bone",
    Reason.BONE_EDGE: "edge of bone",
    Reason.NOISE: "noise",
    Reason.TOO_SMALL: "too small",
    Reason.METAL: "metal",
    Reason.OUTSIDE_BODY: "outside the body",
    Reason.CONTRAST: "contrast in a vessel",
    Reason.EXCLUDED: "excluded by the reader",
    Reason.FIELD_EDGE: "edge of the field",
}
"""Why something dense is no lesion."""


COMPARTMENTS = {
    "total": "all compartments",
    "skin": "skin",
    "subcutis": "subcutaneous fat",
    "muscle_or_fascia": "muscle or fascia",
    "periarticular": "periarticular tissue",
    "vessel_wall": "vessel wall",
    "organ": "organ",
}
"""Compartments by the names of the tables; others, a reader's, are printed as they are."""

PATTERNS = {
    "nodular": "nodule",
    "sheet": "sheet",
    "amorphous_cloud": "amorphous cloud",
    "lacy": "lace",
    "lobulated": "lobulated mass",
    "shell": "shell",
    "linear": "line",
}
"""Patterns of lesions that are worth a word."""


def mark(marks: Mapping[str, Mark], name: Any) -> Mark:
    """Return the mark of a status or verdict; what is unknown is shown by its own name.

    >>> mark(VERDICTS, "increased").symbol
    '▲'
    >>> mark(VERDICTS, pd.NA).word
    '–'
    """
    if pd.isna(name):
        return Mark("", MISSING, "unknown")
    return marks.get(str(name), Mark("", str(name).replace("_", " "), "unknown"))


def compartment_name(compartment: str) -> str:
    """Return a compartment as it is printed.

    >>> compartment_name("total"), compartment_name("vessel_wall"), compartment_name("left_thigh")
    ('all compartments', 'vessel wall', 'left thigh')
    """
    return COMPARTMENTS.get(compartment, compartment.replace("_", " "))


def judged_by_excess(change: Any) -> bool:
    """Tell whether a row of table ``changes`` is of a volume that is not resolved: its verdict is that of the excess.

    >>> judged_by_excess({"quantity": "volume_mm3", "carried_by": "excess_hu_mm3"})
    True
    """
    carrier = change.get("carried_by", pd.NA)
    return bool(change["quantity"] == "volume_mm3" and pd.notna(carrier) and carrier != "volume_mm3")


def quantity_name(quantity: str) -> str:
    """Return the name of a quantity as it is printed.

    >>> quantity_name("mass_mg"), quantity_name("serum_calcium")
    ('Mass', 'serum calcium')
    """
    return {**QUANTITIES, **BESIDE}.get(quantity, quantity.replace("_", " "))


def number(value: Any, *, sign: bool = False) -> str:
    """Return a number with three digits or all before the point, thousands apart; missing is a dash.

    >>> number(12345.6).replace(THIN, " "), number(0.1234), number(7.0), number(float("nan"))
    ('12 346', '0.123', '7', '–')
    >>> number(-12.34, sign=True), number(12.34, sign=True)
    ('−12.3', '+12.3')
    """
    if pd.isna(value):
        return MISSING
    size = abs(float(value))
    if np.isinf(size):
        text = "∞"
    else:
        digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
        text = f"{size:,.{digits}f}".replace(",", THIN)
        text = text.rstrip("0").rstrip(".") if "." in text else text
    minus = float(value) < 0 and text != "0"
    return ("−" if minus else "+" if sign and text != "0" else "") + text


def years(value: Any) -> str:
    """Return a time since the baseline.

    >>> years(0.0), years(-0.42), years(1.36)
    ('0.00', '−0.42', '1.36')
    """
    return MISSING if pd.isna(value) else f"{float(value):.2f}".replace("-", "−")


def day(value: Any) -> str:
    """Return a date."""
    return MISSING if pd.isna(value) else f"{pd.Timestamp(value):%Y-%m-%d}"

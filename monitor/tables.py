"""Every column of every result table, once: name, dtype, unit, meaning; and the check that holds them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

TEXT, NUMBER, WHOLE, FLAG, DATE = "string", "float64", "Int64", "boolean", "datetime64[s]"
"""Dtypes of pandas; WHOLE and FLAG know the missing value, which NaN in a float would turn into a number."""


@dataclass(frozen=True)
class Column:
    """One column of a result table."""

    name: str
    dtype: str
    unit: str
    meaning: str


Schema = tuple[Column, ...]

_PATIENT = Column("patient_id", TEXT, "", "pseudonym of the patient in the study folder")
_VISIT = Column("visit_id", TEXT, "", "the clinical occasion")
_DATE = Column("date", DATE, "", "date of the scan")
_YEARS = Column("years", NUMBER, "a", "years of 365.25 days since the baseline; negative before it")
_LESION = Column("lesion_id", WHOLE, "", "tracked identity: positive, unique per patient, never reused")
_COMPARTMENT = Column("compartment", TEXT, "", "where: a tissue, or what a reader's mask says; total is all of them")
_QUANTITY = Column("quantity", TEXT, "", "which amount")
_RULE = Column("rule_id", TEXT, "", "all that is needed to repeat the number")
_UNIT = Column("unit", TEXT, "", "unit of the number in this row")


def _hu(name: str, meaning: str) -> Column:
    return Column(name, NUMBER, "HU", meaning)


def _mm3(name: str, meaning: str) -> Column:
    return Column(name, NUMBER, "mm3", meaning)


def _mm(name: str, meaning: str) -> Column:
    return Column(name, NUMBER, "mm", meaning)


VISITS: Schema = (
    _PATIENT,
    _VISIT,
    Column("scan_id", TEXT, "", "the scan within its visit"),
    _DATE,
    _YEARS,
    Column("modality", TEXT, "", "CT, DX or MR"),
    Column("region", TEXT, "", "body region as the study names it"),
    Column("kvp", NUMBER, "kV", "tube voltage; empty where unknown"),
    Column("kernel", TEXT, "", "reconstruction kernel"),
    _mm("slice_thickness_mm", "nominal slice thickness"),
    _mm("slice_increment_mm", "distance of slice centres"),
    Column("contrast", TEXT, "", "none, iv or unknown"),
    Column(
        "contrast_found", TEXT, "", "iv: enhanced vessels in the image; none: none; unknown: only the header says iv"
    ),
    _hu("blood_hu", "level of the enhanced vessels' blood; empty where none was seen"),
    Column("manufacturer", TEXT, "", "maker of the scanner"),
    Column("ctdi_vol_mgy", NUMBER, "mGy", "volume CT dose index, mean over the slices"),
    Column(
        "dlp_mgy_cm",
        NUMBER,
        "mGy cm",
        "dose-length product: as the study gives it, else ctdi_vol_mgy over the imaged length",
    ),
    _hu("noise_hu", "SD of the noise, measured in soft tissue of this scan"),
    _hu("threshold_hu", "lowest HU that seeds a lesion in this scan"),
    _mm3("lod_mm3", "volume of dense mineral that is detected with 90 % power"),
    _mm("residual_mm", "disagreement of two independently optimised registrations"),
    _mm("residual_hi_mm", "upper 95 % limit of the registration's mean error"),
    Column("in_field", NUMBER, "1", "fraction of the baseline's body that this scan sees"),
    Column("comparable", FLAG, "", "may amounts be compared with the baseline's"),
    Column("comparable_why", TEXT, "", "why not, or what is unknown"),
    Column("n_lesions", WHOLE, "", "lesions present"),
    Column("reference_visit_id", TEXT, "", "the visit that the registration maps onto"),
    Column("registration", TEXT, "", "stages of the registration, or why it was refused"),
)

LESIONS: Schema = (
    _PATIENT,
    _VISIT,
    _DATE,
    _YEARS,
    _LESION,
    Column(
        "status",
        TEXT,
        "",
        "baseline, new, first_seen, grown, stable, shrunk, resolved, merged, split or not_in_field",
    ),
    _mm3("volume_mm3", "partial-volume-aware volume of mineral"),
    _mm3("volume_lo_mm3", "lower 95 % limit of volume_mm3"),
    _mm3("volume_hi_mm3", "upper 95 % limit of volume_mm3"),
    Column("volume_rule", TEXT, "", "outline, or not_resolved: too thin for its density to be seen, limits wide"),
    _mm3("envelope_mm3", "volume inside the closed outer outline, soft core included"),
    _mm3("threshold_volume_mm3", "voxels at or above the threshold, times the voxel's volume"),
    Column("excess_hu_mm3", NUMBER, "HU mm3", "integral of HU above the local background, blurred border included"),
    Column("excess_lo_hu_mm3", NUMBER, "HU mm3", "lower 95 % limit of excess_hu_mm3"),
    Column("excess_hi_hu_mm3", NUMBER, "HU mm3", "upper 95 % limit of excess_hu_mm3"),
    Column("mass_mg", NUMBER, "mg", "hydroxyapatite equivalent; never compared across kVp where nominal"),
    Column("calibration", TEXT, "", "phantom, site, nominal or none"),
    Column("agatston", NUMBER, "1", "Agatston score, 2D rule, slice increment over 3 mm"),
    _hu("mean_hu", "mean HU of the mineral voxels"),
    _hu("peak_hu", "highest HU"),
    _mm("x_mm", "centroid in the visit's own LPS; where it would be, once resolved"),
    _mm("y_mm", "centroid, LPS"),
    _mm("z_mm", "centroid, LPS"),
    _COMPARTMENT,
    Column("side", TEXT, "", "left, right or midline; empty where unknown"),
    _mm("depth_mm", "depth of the centroid below the skin"),
    Column("bone_contact", FLAG, "", "touches the skeleton"),
    _hu("rim_core_hu", "mean HU of the outer quarter of depth less that of the inner half"),
    Column("zonal_index", NUMBER, "1", "1: all mineral at the rim, 0: uniform, below 0: central"),
    Column(
        "pattern",
        TEXT,
        "",
        "shape: nodular, sheet, amorphous_cloud, lacy, lobulated, shell, linear or indeterminate",
    ),
    Column("rim_completeness_pct", NUMBER, "%", "share of the envelope's surface with mineral within 3 mm below it"),
    _mm("rim_thickness_mm", "median thickness of the rim of a shell"),
    Column("marrow_fat_fraction", NUMBER, "1", "share of fat (below -30 HU) within the envelope less one voxel"),
    Column("fluid_level", FLAG, "", "sediment under a level within 5 degrees of horizontal, lying supine"),
    Column("kind", TEXT, "", "descriptive, no diagnosis: calcification, ossification or indeterminate"),
    Column("mineral_fraction", NUMBER, "1", "volume_mm3 over envelope_mm3"),
    Column(
        "link_score",
        NUMBER,
        "1",
        "0 to 1: how well the place agrees with the lesion's before, or with the whole of a merge or split; 1 where a"
        " reviewer said so",
    ),
)

LINEAGE: Schema = (
    _PATIENT,
    _VISIT,
    _LESION,
    Column("kind", TEXT, "", "new, first_seen, resolved, merged, split or not_in_field"),
    Column("from_lesion_id", WHOLE, "", "split: the lesion that it came from"),
    Column("into_lesion_id", WHOLE, "", "merged: the lesion that goes on with the whole volume"),
)

BURDEN: Schema = (
    _PATIENT,
    _VISIT,
    _DATE,
    _YEARS,
    _COMPARTMENT,
    _QUANTITY,
    Column("value", NUMBER, "", "the amount; empty where part of what is known was not in the field"),
    Column("lo", NUMBER, "", "lower 95 % limit"),
    Column("hi", NUMBER, "", "upper 95 % limit"),
    _UNIT,
    _RULE,
    Column("evaluable", NUMBER, "1", "fraction of known lesions (of n_regions: regions) that lie in the field"),
    Column("value_observed", NUMBER, "", "the amount of what was in the field"),
)

CHANGES: Schema = (
    _PATIENT,
    Column("from_visit", TEXT, "", "the earlier visit"),
    Column("to_visit", TEXT, "", "the later visit"),
    Column("comparison", TEXT, "", "baseline, previous or nadir"),
    Column("lesion_id", WHOLE, "", "the lesion, where the row is about one"),
    Column("compartment", TEXT, "", "the compartment, where the row is about one"),
    _QUANTITY,
    _RULE,
    Column("before", NUMBER, "", "amount at the earlier visit, in the field common to both"),
    Column("after", NUMBER, "", "amount at the later visit, in the field common to both"),
    Column("change", NUMBER, "", "after less before"),
    Column("lo", NUMBER, "", "lower 95 % limit of the change"),
    Column("hi", NUMBER, "", "upper 95 % limit of the change"),
    Column("change_pct", NUMBER, "%", "change in per cent of before; empty where before is 0"),
    Column("change_per_year", NUMBER, "", "change over the years between"),
    _UNIT,
    Column("detectable", NUMBER, "", "the smallest change that counts, among all comparisons of the visit"),
    Column("verdict", TEXT, "", "increased, decreased, no_detectable_change or not_comparable"),
    Column("carried_by", TEXT, "", "the quantity whose numbers the verdict on volume rests on"),
    _mm3("gained_mm3", "volume where mineral came; gained less lost is the change; rows of volume_mm3 alone"),
    _mm3("lost_mm3", "volume where mineral went"),
    _mm3("formation_mm3", "of gained_mm3 what lies farther from the earlier mineral than the registration may err"),
    _mm3("resorption_mm3", "of lost_mm3 what lies farther from the later mineral than the registration may err"),
    _mm3("mineralised_mm3", "volume that stayed and is denser beyond noise; empty where HU cannot be compared"),
    _mm3("demineralised_mm3", "volume that stayed and is fainter beyond noise"),
    _mm3("unchanged_mm3", "volume that stayed, its density unchanged within noise"),
    Column("why", TEXT, "", "the reason of the verdict"),
)

TRENDS: Schema = (
    Column("level", TEXT, "", "patient or cohort"),
    _PATIENT,
    _COMPARTMENT,
    _LESION,
    Column("arm", TEXT, "", "the arm, where the row is about one"),
    _QUANTITY,
    Column("scale", TEXT, "", "absolute, log, sqrt or cbrt"),
    Column("model", TEXT, "", "the model that was fitted"),
    Column("term", TEXT, "", "what the estimate is: rate, level, change of rate, ..."),
    Column("estimate", NUMBER, "", "the estimate"),
    Column("se", NUMBER, "", "its standard error"),
    Column("df", NUMBER, "1", "degrees of freedom; inf where the errors are known"),
    Column("lo", NUMBER, "", "lower 95 % limit"),
    Column("hi", NUMBER, "", "upper 95 % limit"),
    Column("interval_kind", TEXT, "", "which interval lo and hi are"),
    Column("p_value", NUMBER, "1", "two-sided"),
    _UNIT,
    Column("time_origin", TEXT, "", "where years are counted from"),
    Column("n_patients", WHOLE, "", "patients that contribute"),
    Column("n_visits", WHOLE, "", "visits that contribute"),
    Column("note", TEXT, "", "what a reader must know"),
)

REFUSED: Schema = (
    _PATIENT,
    _VISIT,
    Column("scan_id", TEXT, "", "the scan within its visit"),
    Column("path", TEXT, "", "as the study folder gives it"),
    Column("code", TEXT, "", "which rule was broken"),
    Column("message", TEXT, "", "the rule, what came, what was expected"),
)

PATIENTS: Schema = (
    _PATIENT,
    Column("condition", TEXT, "", "as the study folder gives it"),
    Column("arm", TEXT, "", "as the study folder gives it"),
    Column("site", TEXT, "", "as the study folder gives it"),
    Column("sex", TEXT, "", "as the study folder gives it"),
    Column(
        "age_years", NUMBER, "a", "age at the baseline, to a tenth of a year; empty where the birth date is unknown"
    ),
    Column("baseline_visit_id", TEXT, "", "the analysis baseline"),
    Column("treated_from_years", NUMBER, "a", "first treatment, years since the baseline; empty where none"),
)

EVENTS: Schema = (
    _PATIENT,
    _DATE,
    Column("years", NUMBER, "a", "start, years since the baseline"),
    Column("end_years", NUMBER, "a", "end, years since the baseline; empty where it goes on or is a moment"),
    Column("kind", TEXT, "", "treatment, surgery, flare, injury or exposure"),
    Column("name", TEXT, "", "what it was"),
    _LESION,
    _COMPARTMENT,
    Column("side", TEXT, "", "left or right; empty where unknown"),
)

SCORES: Schema = (
    _PATIENT,
    _DATE,
    Column("years", NUMBER, "a", "day of the score, years since the baseline"),
    _QUANTITY,
    Column("value", NUMBER, "", "the score; empty where unknown"),
    _UNIT,
    _COMPARTMENT,
    Column("reader", TEXT, "", "who or what read it, as the study folder gives it"),
    Column("source", TEXT, "", "where it comes from, as the study folder gives it"),
)

SELFTEST: Schema = (
    _PATIENT,
    Column(
        "situation", TEXT, "", "how the baseline was scanned again: rescan, noise, kernel or slices; empty: not tested"
    ),
    Column("lesion_number", WHOLE, "", "counts the lesions of a test; it is no lesion_id"),
    Column(
        "lesion",
        TEXT,
        "",
        "what became of it: unchanged, grown_20, grown_50, shrunk_20, densified, dissolved, new; own: one of the"
        " patient's own, unchanged; nothing: called new where nothing is",
    ),
    Column("found", FLAG, "", "was it found where it is, at the first visit that has it"),
    _mm3("true_before_mm3", "true volume before; empty for the patient's own"),
    _mm3("true_after_mm3", "true volume after"),
    _mm3("true_change_mm3", "true change of volume"),
    _mm3("before_mm3", "measured volume before"),
    _mm3("after_mm3", "measured volume after"),
    _mm3("change_mm3", "measured change of volume"),
    _mm3("detectable_mm3", "the smallest change that counts"),
    Column("verdict", TEXT, "", "what table changes says; what came has its status"),
    Column("called", TEXT, "", "the verdict by size alone, as if every two scans could be compared"),
    Column("right", FLAG, "", "called is what is true; empty where nothing was said and nothing changed"),
    Column("excess_true_before_hu_mm3", NUMBER, "HU mm3", "true excess before"),
    Column("excess_true_after_hu_mm3", NUMBER, "HU mm3", "true excess after"),
    Column("excess_true_change_hu_mm3", NUMBER, "HU mm3", "true change of excess"),
    Column("excess_before_hu_mm3", NUMBER, "HU mm3", "measured excess before"),
    Column("excess_after_hu_mm3", NUMBER, "HU mm3", "measured excess after"),
    Column("excess_change_hu_mm3", NUMBER, "HU mm3", "measured change of excess"),
    Column("excess_detectable_hu_mm3", NUMBER, "HU mm3", "the smallest change of excess that counts"),
    Column("excess_verdict", TEXT, "", "as verdict"),
    Column("excess_called", TEXT, "", "as called"),
    Column("excess_right", FLAG, "", "as right"),
    Column("why", TEXT, "", "why it was not tested, or could not be compared"),
)

PUBLISHED_LIMIT = ";limit="
"""Stands in a ``rule_id`` before the name of a published limit: such a verdict is not by the error of the scans."""

SCHEMAS: dict[str, Schema] = {
    "visits": VISITS,
    "lesions": LESIONS,
    "lineage": LINEAGE,
    "burden": BURDEN,
    "changes": CHANGES,
    "trends": TRENDS,
    "refused": REFUSED,
    "patients": PATIENTS,
    "events": EVENTS,
    "selftest": SELFTEST,
    "scores": SCORES,
}
"""The tables of the results folder: the seven of the contract, then what a page needs of the study beside them."""

DTYPES = {
    name: [(column.name, pd.api.types.pandas_dtype(column.dtype)) for column in schema]
    for name, schema in SCHEMAS.items()
}
"""Names and dtypes of the columns, as a table that fits its schema has them."""


def empty(name: str) -> pd.DataFrame:
    """Return a table without rows.

    >>> list(empty("refused").columns)
    ['patient_id', 'visit_id', 'scan_id', 'path', 'code', 'message']
    """
    return check(pd.DataFrame(), name)


def check(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the table with exactly the columns of its schema, in order and dtype; absent ones are missing.

    Parameters
    ----------
    table : DataFrame
        Rows of table ``name``; columns may be absent, none may be unknown.
    name : str
        A key of ``SCHEMAS``.

    Raises
    ------
    ValueError
        If a column is not in the schema or a value does not fit its dtype.
    """
    if name not in SCHEMAS:
        raise ValueError(f"a table must be one of {', '.join(SCHEMAS)}; got {name!r}")
    schema = SCHEMAS[name]
    unknown = sorted(set(table.columns) - {column.name for column in schema})
    if unknown:
        raise ValueError(f"table {name} has no column {', '.join(unknown)}; add it to monitor.tables first")
    plain = table.reset_index(drop=True)
    if list(plain.dtypes.items()) == DTYPES[name]:
        return plain
    return pd.DataFrame({column.name: _cast(plain, column, name) for column in schema}, index=range(len(plain)))


def _cast(table: pd.DataFrame, column: Column, name: str) -> pd.Series:
    if column.name not in table:
        return pd.Series([None] * len(table), dtype=column.dtype)
    try:
        return table[column.name].astype(pd.api.types.pandas_dtype(column.dtype))
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {column.name} of table {name} must be {column.dtype}: {error}") from error

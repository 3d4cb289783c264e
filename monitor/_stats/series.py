"""Serial amounts as they come in a DataFrame, checked, on the scale of the analysis."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

ROOTS = {"sqrt": 2, "cbrt": 3}
"""Scales that are roots, and which; at 0 their delta method has no limit (see ``_root_se``)."""

SMALLEST, LARGEST = 1e-50, 1e50
"""Sizes of a number beyond which squares of ratios leave the range of doubles; no unit of ours comes near."""


@dataclass(frozen=True)
class Series:
    """Rows of one or more patients, sorted by patient, time and value.

    Attributes
    ----------
    ids : tuple of str
        Patients, shape (n,), in the order of their codes.
    patient : (N,) int array
        Code of the patient of each row.
    years, value : (N,) arrays
        Time in years and amount, on the scale of the analysis.
    se : (N,) array or None
        Known standard error of each value, all positive; None where none was given.
    scale, unit : str
        Scale of the analysis, and the unit of a rate on it.
    notes : tuple of str
        What was left out or assumed.
    """

    ids: tuple[str, ...]
    patient: np.ndarray
    years: np.ndarray
    value: np.ndarray
    se: np.ndarray | None
    scale: str
    unit: str
    notes: tuple[str, ...]

    @property
    def n_visits(self) -> np.ndarray:
        """Rows of each patient, shape (n,)."""
        return np.bincount(self.patient, minlength=len(self.ids))

    def keep(self, patients: np.ndarray) -> Series:
        """Return the rows of some patients, (n,) bool."""
        rows = patients[self.patient]
        codes = np.cumsum(patients) - 1
        return replace(
            self,
            ids=tuple(name for name, kept in zip(self.ids, patients, strict=True) if kept),
            patient=codes[self.patient[rows]],
            years=self.years[rows],
            value=self.value[rows],
            se=None if self.se is None else self.se[rows],
        )

    def with_slope(self) -> Series:
        """Return the patients seen at two or more different times; the others are counted in a note."""
        span = np.zeros(len(self.ids))
        if len(self.years):
            first = np.searchsorted(self.patient, np.arange(len(self.ids)))
            span = np.maximum.reduceat(self.years, first) - np.minimum.reduceat(self.years, first)
        left_out = int((span <= 0).sum())
        kept = self.keep(span > 0)
        return kept.noting(f"{left_out} patient(s) seen at one time only hold no rate") if left_out else kept

    def noting(self, *notes: str) -> Series:
        """Return the same rows with further notes."""
        return replace(self, notes=(*self.notes, *notes))


def read(data: pd.DataFrame, *, scale: str = "absolute", one_patient: bool = False) -> Series:
    """Check serial data and bring them to the scale of the analysis.

    Parameters
    ----------
    data : DataFrame
        Columns ``years``, ``value``, optionally ``se`` (of the value, natural scale) and ``unit``;
        ``patient_id`` is needed unless ``one_patient``.
    scale : str
        A key of ``SCALES``.
    one_patient : bool
        Refuse more than one patient.

    Raises
    ------
    ValueError
        If columns are missing or not numbers, patients are unnamed or too many, units are mixed, an se is
        negative, or a value is negative on the log or square root scale.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}; got {scale!r}")
    names = _patients(data, one_patient=one_patient)
    years, value = number(data, "years"), number(data, "value")
    known = np.isfinite(years) & np.isfinite(value)
    notes = [f"{int((~known).sum())} row(s) without years or value left out"] if not known.all() else []
    notes += vanished(data, "years", "value", "se")
    se, se_notes = _errors(data, known)
    value, se, usable, scale_notes = SCALES[scale](value[known], se)
    order = np.lexsort((value, years[known][usable], names[known][usable]))
    ids, patient = np.unique(names[known][usable][order], return_inverse=True)
    return Series(
        ids=tuple(map(str, ids)),
        patient=patient,
        years=years[known][usable][order],
        value=value[order],
        se=None if se is None else se[order],
        scale=scale,
        unit=_unit(data, scale),
        notes=(*notes, *se_notes, *scale_notes),
    )


def per_patient(data: pd.DataFrame, column: str) -> dict[str, object]:
    """Return what a column says of each patient.

    Raises
    ------
    ValueError
        If the column is missing, or a patient has two different entries.
    """
    require(data, ("patient_id", column))
    pairs = pd.DataFrame({"patient": data["patient_id"].map(str), "entry": data[column]})
    try:
        pairs = pairs.drop_duplicates()
    except TypeError as error:
        raise ValueError(f"column {column} must hold numbers or words: {error}") from error
    twice = pairs["patient"][pairs["patient"].duplicated()].unique()
    if len(twice):
        raise ValueError(f"column {column} must be one entry per patient; {', '.join(twice[:5])} have several")
    return dict(zip(pairs["patient"], pairs["entry"], strict=True))


def require(data: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Raise a ValueError that names the columns that are missing or come twice."""
    twice = data.columns[data.columns.duplicated()].unique()
    if len(twice):
        raise ValueError(f"data must have one column of a name; several came for {', '.join(map(str, twice))}")
    missing = [name for name in columns if name not in data]
    if missing:
        raise ValueError(f"data must have the columns {', '.join(columns)}; got {', '.join(map(str, data.columns))}")


def number(data: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column as floats, shape (N,); anything that is no number raises a ValueError.

    A number nearer to 0 than ``SMALLEST`` becomes 0 (``vanished`` counts them); one beyond ``LARGEST`` is refused.
    """
    read = _number(data, column)
    size = np.abs(read)
    wrong = read[np.isfinite(read) & (size > LARGEST)]
    if len(wrong):
        raise ValueError(f"column {column} must hold numbers between -{LARGEST:g} and {LARGEST:g}; got {wrong[0]:g}")
    return np.where(size < SMALLEST, 0.0, read)


def vanished(data: pd.DataFrame, *columns: str) -> list[str]:
    """Return a note for each column with numbers so near to 0 that ``number`` makes them 0."""
    sizes = {name: np.abs(_number(data, name)) for name in columns if name in data}
    counts = {name: int(((size > 0) & (size < SMALLEST)).sum()) for name, size in sizes.items()}
    return [f"{n} {name} nearer to 0 than {SMALLEST:g} count as 0" for name, n in counts.items() if n]


def _number(data: pd.DataFrame, column: str) -> np.ndarray:
    kind = data[column].dtype
    # A time would become its nanoseconds, and a complex number lose half of itself.
    if kind.kind in "mMc" or isinstance(kind, pd.PeriodDtype | pd.DatetimeTZDtype):
        raise ValueError(f"column {column} must hold numbers; got {kind}")
    try:
        read = pd.to_numeric(data[column])
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {column} must hold numbers: {error}") from error
    if read.dtype.kind in "mMc":
        raise ValueError(f"column {column} must hold numbers; got {read.dtype}")
    try:
        return read.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {column} must hold numbers: {error}") from error


def ordered(entries: Iterable[object], column: str) -> list[object]:
    """Return the different entries of a column in order, numbers before words.

    Raises
    ------
    ValueError
        If they have no order, such as dates and numbers together.
    """
    try:
        return sorted(set(entries), key=lambda level: (isinstance(level, str), level))
    except TypeError as error:
        raise ValueError(f"column {column} must hold numbers or words, of one kind: {error}") from error


def _patients(data: pd.DataFrame, *, one_patient: bool) -> np.ndarray:
    require(data, ("years", "value") if one_patient else ("patient_id", "years", "value"))
    if "patient_id" not in data:
        return np.full(len(data), "")
    if data["patient_id"].isna().any():
        raise ValueError(f"every row must name its patient; {int(data['patient_id'].isna().sum())} have no patient_id")
    names = data["patient_id"].map(str).to_numpy(dtype=str)
    if (names != data["patient_id"].map(str).to_numpy(dtype=object)).any():
        raise ValueError("patient_id must not end with a null character; got one that does")
    if one_patient and len(np.unique(names)) > 1:
        raise ValueError(f"data must be of one patient; got {len(np.unique(names))}: {', '.join(np.unique(names)[:5])}")
    return names


def _errors(data: pd.DataFrame, known: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """Return the se of the rows kept, (N,), all positive, or None; and what was assumed.

    An se of 0 (a resolved lesion) would be an infinite weight: it becomes the smallest positive one. A
    missing se becomes the largest, so that an unknown error never counts for more than a known one.
    """
    if "se" not in data:
        return None, []
    se = number(data, "se")[known]
    if np.any(se < 0):
        raise ValueError(f"se must not be negative; the smallest is {np.nanmin(se):g}")
    positive = se[np.isfinite(se) & (se > 0)]
    if not len(positive):
        return None, ["no se is positive: the errors are taken as unknown"] if len(se) else []
    zero, missing = se == 0, ~np.isfinite(se)
    notes = []
    if zero.any():
        notes.append(f"{int(zero.sum())} se of 0 set to the smallest positive one, {positive.min():.4g}")
    if missing.any():
        notes.append(f"{int(missing.sum())} missing se set to the largest one, {positive.max():.4g}")
    return np.where(missing, positive.max(), np.where(zero, positive.min(), se)), notes


def _unit(data: pd.DataFrame, scale: str) -> str:
    if "unit" not in data or scale == "log":
        return "1/a"
    units = [str(unit) for unit in data["unit"].dropna().unique() if str(unit)]
    if len(units) > 1:
        raise ValueError(f"all values must have one unit; got {', '.join(units)}")
    if not units or units[0] == "1":
        return "1/a"
    return f"{units[0]}/a" if scale == "absolute" else f"({units[0]})^(1/{ROOTS[scale]})/a"


Scaled = tuple[np.ndarray, np.ndarray | None, np.ndarray, list[str]]
"""Values and errors on the scale (rows that are not usable are gone), which rows are usable, and notes."""


def _absolute(value: np.ndarray, se: np.ndarray | None) -> Scaled:
    return value, se, np.full(len(value), True), []


def _log(value: np.ndarray, se: np.ndarray | None) -> Scaled:
    _refuse_negative(value, "log")
    usable = value > 0
    zeros = int((~usable).sum())
    notes = [f"{zeros} value(s) of 0 have no logarithm and are left out: what resolved does not count"] if zeros else []
    log_se = None if se is None else se[usable] / value[usable]
    return np.log(value[usable]), log_se, usable, notes


def _sqrt(value: np.ndarray, se: np.ndarray | None) -> Scaled:
    _refuse_negative(value, "sqrt")
    return np.sqrt(value), _root_se(value, se, 2), np.full(len(value), True), []


def _cbrt(value: np.ndarray, se: np.ndarray | None) -> Scaled:
    return np.cbrt(value), _root_se(value, se, 3), np.full(len(value), True), []


def _root_se(value: np.ndarray, se: np.ndarray | None, root: int) -> np.ndarray | None:
    """Return the se of a root: the delta method, or the root of the se where that is smaller (near 0).

    The delta method, ``se / (root * |value|^(1 - 1/root))``, has no limit at 0; there an error ``e`` moves
    the root by ``e^(1/root)``.
    """
    if se is None:
        return None
    with np.errstate(divide="ignore", over="ignore"):
        delta = se / (root * np.abs(value) ** (1 - 1 / root))
    smaller: np.ndarray = np.minimum(delta, se ** (1 / root))
    return smaller


def _refuse_negative(value: np.ndarray, scale: str) -> None:
    if np.any(value < 0):
        raise ValueError(
            f"values must not be negative on the {scale} scale; {int((value < 0).sum())} are, "
            f"the smallest {value.min():g}; the absolute and cbrt scales take them"
        )


SCALES: dict[str, Callable[[np.ndarray, np.ndarray | None], Scaled]] = {
    "absolute": _absolute,
    "log": _log,
    "sqrt": _sqrt,
    "cbrt": _cbrt,
}
"""Scales of analysis; the cube root keeps the sign, the log leaves zeros out with a note."""

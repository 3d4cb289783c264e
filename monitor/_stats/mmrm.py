"""Means of arms at planned visits: the mixed model for repeated measures (MMRM), its LS means and contrasts.

Every arm has a mean of its own at every visit, and the values of a patient are correlated over visits. A patient
who misses visits contributes the others, which is valid where what is missing depends on what was seen (Mallinckrodt
2008). Nothing is assumed of the shape over time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from monitor._stats import limits, reml
from monitor._stats.mixed import NotFittedError
from monitor._stats.series import Series, number, ordered, per_patient, require, vanished
from monitor.types import Trend

FALLBACKS: dict[str, tuple[str, ...]] = {
    "unstructured": ("unstructured", "heterogeneous_compound_symmetry", "compound_symmetry"),
    "heterogeneous_compound_symmetry": ("heterogeneous_compound_symmetry", "compound_symmetry"),
    "compound_symmetry": ("compound_symmetry",),
    "ar1": ("ar1", "compound_symmetry"),
    "continuous_ar1": ("continuous_ar1", "compound_symmetry"),
}
"""Covariances over visits, and which are tried in turn: fewer parameters where the data do not support more."""

COLUMNS = (
    *("term", "arm", "visit", "estimate", "se", "df", "lo", "hi", "p_value", "unit"),
    *("method", "interval_kind", "n_patients", "n_visits", "note"),
)
"""Columns of the answer."""

ARM_PATIENTS = 2
"""Patients of an arm from which it has a mean with limits: one tells nothing of how its arm varies."""

_NEVER_FITTED = "MMRM, REML"
"""What ``method`` says where no covariance was fitted."""


def mmrm(
    data: pd.DataFrame,
    *,
    covariance: str = "unstructured",
    arm: str = "arm",
    visit: str = "visit",
    baseline: str | None = None,
    reference: object = None,
) -> pd.DataFrame:
    """Return the LS means of arms at visits, and the contrasts with the reference arm at each visit.

    REML with means per arm and visit; limits of Kenward and Roger (1997) with the observed information, as in SAS
    PROC MIXED (ddfm=kr). Where a covariance has more parameters than the data support, or no maximum, the next of
    ``FALLBACKS`` is fitted, and the note says so.

    Parameters
    ----------
    data : DataFrame
        One row a visit: ``patient_id``, ``value``, the column ``visit`` names and, where there are any, ``se`` (known
        standard error of the value, in its unit), ``unit``, ``years`` and the columns named by ``arm`` and
        ``baseline``. Rows without a value are left out. Without a column ``arm`` all patients are one arm.
    covariance : str
        A key of ``FALLBACKS``; continuous_ar1 needs ``years``. A known se adds its square.
    arm, visit : str
        Columns of the arm and of the planned visit. Numbers are in order of size, categories in their own, text in
        order of the median ``years``, or else by the numbers in it.
    baseline : str, optional
        Column of a covariate, one number per patient. It has a slope per visit; LS means are at its mean over
        patients. Where a visit does not tell its slope, one slope for all.
    reference : object
        The arm to compare with; the first in order where it is not given.

    Returns
    -------
    DataFrame
        Columns ``COLUMNS``; a row for each arm and visit, term ls_mean, and each other arm and visit, term contrast:
        arm minus reference. ``n_patients`` have a value at the visit, ``n_visits`` counts all values of the arms.
        A number that the data do not hold is NaN, and the note says why.

    Raises
    ------
    ValueError
        If columns are missing or no numbers, patients or visits unnamed, a patient has a visit twice, two arms or two
        baselines, an se is not positive, units are mixed, or ``covariance`` or ``reference`` is unknown.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient_id": list("aabbcc"), "visit": [1, 2] * 3, "value": [1.0, 2, 2, 4, 3, 9]})
    >>> mmrm(rows)[["term", "visit", "estimate", "df", "n_patients"]].round(6)
          term  visit  estimate   df  n_patients
    0  ls_mean      1       2.0  2.0           3
    1  ls_mean      2       5.0  2.0           3
    """
    if covariance not in FALLBACKS:
        raise ValueError(f"covariance must be one of {', '.join(FALLBACKS)}; got {covariance!r}")
    cells = _read(data, arm=arm, visit=visit, baseline=baseline)
    if covariance == "continuous_ar1":
        _check_times(cells, data)
    against = _reference(cells.arms, reference)
    fitted = _fitted(cells, covariance)
    rows = [*_means(cells, fitted), *_contrasts(cells, fitted, against)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


@dataclass(frozen=True)
class _Cells:
    """Rows with a value, N, of n patients, and the arm and visit of each.

    Attributes
    ----------
    series : Series
        The rows; years are NaN where the data have none.
    visit : (N,) int array
        Place of the visit in ``visits``.
    visits, arms : tuple
        Names, in order.
    arm : (n,) int array
        Place of the arm of each patient in ``arms``.
    baseline : (n,) array or None
        Covariate of each patient, centred.
    """

    series: Series
    visit: np.ndarray
    visits: tuple[object, ...]
    arm: np.ndarray
    arms: tuple[object, ...]
    baseline: np.ndarray | None

    @property
    def counts(self) -> np.ndarray:
        """Return the patients of each arm with a value at each visit, (arms, visits)."""
        found = np.zeros((len(self.arms), len(self.visits)), int)
        np.add.at(found, (self.arm[self.series.patient], self.visit), 1)
        return found

    def keep(self, patients: np.ndarray, note: str) -> _Cells:
        """Return some patients, (n,) bool, with a note where they are not all."""
        if patients.all():
            return self
        return replace(
            self,
            series=self.series.keep(patients).noting(note),
            visit=self.visit[patients[self.series.patient]],
            arm=self.arm[patients],
            baseline=None if self.baseline is None else self.baseline[patients],
        )


def _read(data: pd.DataFrame, *, arm: str, visit: str, baseline: str | None) -> _Cells:
    """Return the rows with a value, checked."""
    given = [name for name in (arm, baseline) if name not in (None, "arm")]
    require(data, ("patient_id", visit, "value", *map(str, given)))
    _refuse_unnamed(data, visit)
    value = number(data, "value")
    known = np.isfinite(value)
    rows = data[known].assign(patient_id=data.loc[known, "patient_id"].map(str))
    twice = rows.loc[rows.duplicated(["patient_id", visit]), ["patient_id", visit]]
    if len(twice):
        named = ", ".join(f"{one.iloc[0]} at {one.iloc[1]}" for _, one in twice.head(5).iterrows())
        raise ValueError(f"a patient must have one value at a visit; several came for {named}")
    visits = _visits(data, visit)
    ids, patient = np.unique(rows["patient_id"].to_numpy(dtype=str), return_inverse=True)
    order = np.lexsort((_places(rows[visit], visits), patient))
    se, se_notes = _errors(data, known)
    notes = [f"{int((~known).sum())} row(s) without a value left out"] if not known.all() else []
    notes += vanished(data, "value", "se", "years")
    series = Series(
        ids=tuple(map(str, ids)),
        patient=patient[order],
        years=(number(rows, "years") if "years" in rows else np.full(len(rows), np.nan))[order],
        value=value[known][order],
        se=None if se is None else se[order],
        scale="absolute",
        unit=_unit(data),
        notes=(*notes, *se_notes),
    )
    arms, of_patient = _arms(data, arm, series.ids)
    cells = _Cells(series, _places(rows[visit], visits)[order], visits, of_patient, arms, None)
    cells = cells.keep(of_patient >= 0, f"{int((of_patient < 0).sum())} patient(s) without {arm} left out")
    return _with_baseline(_without_single(cells), data, baseline)


def _refuse_unnamed(data: pd.DataFrame, visit: str) -> None:
    if not len(data):
        raise ValueError("data must hold a row for each visit; got none")
    for column in ("patient_id", visit):
        unnamed = int(data[column].isna().sum())
        if unnamed:
            raise ValueError(f"every row must name its patient and visit; {unnamed} have no {column}")


def _visits(data: pd.DataFrame, visit: str) -> tuple[object, ...]:
    """Return the visits in order."""
    column = data[visit]
    if isinstance(column.dtype, pd.CategoricalDtype):
        return tuple(name for name in column.cat.categories if (column == name).any())
    names = list(column.unique())
    if pd.api.types.is_numeric_dtype(column.dtype):
        return tuple(sorted(names))
    if "years" in data:
        times = pd.Series(number(data, "years")).groupby(column.to_numpy(dtype=object)).median()
        if times.notna().all():
            return tuple(sorted(names, key=lambda name: (times[name], str(name))))
    return tuple(sorted(names, key=lambda name: [_sortable(part) for part in re.split(r"(\d+)", str(name))]))


def _sortable(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (-1, part)


def _places(column: pd.Series, names: tuple[object, ...]) -> np.ndarray:
    """Return the place of each entry among the names, (N,)."""
    place = {name: at for at, name in enumerate(names)}
    return np.array([place[name] for name in column], int)


def _errors(data: pd.DataFrame, known: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """Return the se of the rows kept, or None; a missing one becomes the largest, and a note says so."""
    if "se" not in data:
        return None, []
    se = number(data, "se")[known]
    missing = np.isnan(se)
    if np.any(~(se[~missing] > 0) | np.isinf(se[~missing])):
        wrong = se[~missing & ~((se > 0) & np.isfinite(se))]
        raise ValueError(f"se must be positive and finite; {len(wrong)} are not, the first {wrong[0]:g}")
    if missing.all():
        return None, ["no se is given: the errors are taken as unknown"]
    largest = float(se[~missing].max())
    notes = [f"{int(missing.sum())} missing se set to the largest one, {largest:.4g}"] if missing.any() else []
    return np.where(missing, largest, se), notes


def _unit(data: pd.DataFrame) -> str:
    units = [str(unit) for unit in data["unit"].dropna().unique() if str(unit)] if "unit" in data else []
    if len(units) > 1:
        raise ValueError(f"all values must have one unit; got {', '.join(units)}")
    return units[0] if units else "1"


def _arms(data: pd.DataFrame, arm: str, ids: tuple[str, ...]) -> tuple[tuple[object, ...], np.ndarray]:
    """Return the arms in order, and the place of each patient's, (n,); -1 where it is not told."""
    if arm not in data:
        return ("all",), np.zeros(len(ids), int)
    entries = per_patient(data.dropna(subset=[arm]), arm)
    arms = tuple(ordered(entries.values(), arm))
    if not arms:
        raise ValueError(f"column {arm} must name the arm of each patient; it is empty")
    return arms, np.array([arms.index(entries[name]) if name in entries else -1 for name in ids], int)


def _without_single(cells: _Cells) -> _Cells:
    """Leave out patients who are alone in their arm; its rows say why they hold no number."""
    sizes = np.bincount(cells.arm, minlength=len(cells.arms))
    alone = sizes[cells.arm] < ARM_PATIENTS
    names = ", ".join(str(cells.arms[place]) for place in np.unique(cells.arm[alone]))
    return cells.keep(~alone, f"an arm needs {ARM_PATIENTS} patients; left out, with fewer: {names}")


def _with_baseline(cells: _Cells, data: pd.DataFrame, baseline: str | None) -> _Cells:
    if baseline is None:
        return cells
    numbers = data.assign(**{baseline: number(data, baseline)}).dropna(subset=[baseline])
    entries = per_patient(numbers, baseline)
    covariate = np.array([entries.get(name, np.nan) for name in cells.series.ids], float)
    told = np.isfinite(covariate)
    kept = replace(cells, baseline=covariate).keep(told, f"{int((~told).sum())} patient(s) without {baseline} left out")
    if not told.any():
        return _without_single(kept)
    mean = float(covariate[told].mean())
    # Those left out may leave an arm with one patient.
    return _without_single(
        replace(kept, series=kept.series.noting(f"LS means at {baseline} {mean:.4g}"), baseline=covariate[told] - mean)
    )


def _reference(arms: tuple[object, ...], reference: object) -> int:
    """Return the place of the arm to compare with."""
    if reference is None:
        return 0
    matches = [place for place, level in enumerate(arms) if level == reference or str(level) == str(reference)]
    if not matches:
        raise ValueError(f"reference must be one of {', '.join(map(str, arms))}; got {reference!r}")
    return matches[0]


def _check_times(cells: _Cells, data: pd.DataFrame) -> None:
    """Refuse rows that the continuous covariance cannot place."""
    require(data, ("years",))
    series = cells.series
    if not np.isfinite(series.years).all():
        missing = int((~np.isfinite(series.years)).sum())
        raise ValueError(f"continuous_ar1 needs the years of every value; {missing} have none")
    order = np.lexsort((series.years, series.patient))
    same = (np.diff(series.years[order]) <= 0) & (np.diff(series.patient[order]) == 0)
    if same.any():
        who = series.ids[series.patient[order][1:][same][0]]
        raise ValueError(f"continuous_ar1 needs a patient's visits at different times; {who} has two at one time")


@dataclass(frozen=True)
class _Fitted:
    """The model fitted, or why there is none.

    ``column`` (arms, visits) is the place of a cell's mean among the fixed effects, -1 where it has none.
    """

    fit: reml.Fit | None
    column: np.ndarray
    method: str
    notes: tuple[str, ...]


def _fitted(cells: _Cells, covariance: str) -> _Fitted:
    fixed, column, notes = _fixed(cells)
    for name in FALLBACKS[covariance]:
        why = _unsupported(cells, fixed, name)
        if not why:
            try:
                found = reml.fit(_design(cells, fixed), residual=name)
            except NotFittedError as error:
                why = str(error)
            else:
                singular = ["the covariance is at the edge of what is possible (singular)"] if found.singular else []
                return _Fitted(found, column, _method(name), (*notes, *singular))
        notes.append(f"{_words(name)} covariance not fitted ({why})")
    return _Fitted(None, column, _NEVER_FITTED, tuple(notes))


def _words(covariance: str) -> str:
    return covariance.replace("_", " ").replace("ar1", "AR(1)")


def _method(covariance: str) -> str:
    return f"{_NEVER_FITTED}, {_words(covariance)} covariance over visits, Kenward-Roger, observed information"


def _design(cells: _Cells, fixed: np.ndarray) -> reml.Design:
    series = cells.series
    known = None if series.se is None else series.se**2
    # Levels without a value would be variances that no row tells.
    visit = np.unique(cells.visit, return_inverse=True)[1]
    return reml.Design(series.value, fixed, series.patient, known=known, visit=visit, years=series.years)


def _fixed(cells: _Cells) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the fixed effects (N, p), a mean per cell and slopes of the baseline; the cells' columns; and notes."""
    counts = cells.counts
    column = np.full(counts.shape, -1)
    column[counts > 0] = np.arange(int((counts > 0).sum()))
    arm = cells.arm[cells.series.patient]
    means = np.eye(int(column.max()) + 1)[column[arm, cells.visit]]
    if cells.baseline is None:
        return means, column, []
    covariate = cells.baseline[cells.series.patient][:, None]
    each = np.eye(len(cells.visits))[cells.visit][:, counts.any(axis=0)] * covariate
    for slopes, note in ((each, ""), (covariate, "a visit does not tell a slope of the baseline: one slope for all")):
        fixed = np.hstack([means, slopes])
        if len(fixed) > fixed.shape[1] and np.linalg.matrix_rank(fixed) == fixed.shape[1]:
            return fixed, column, [note] if note else []
    return means, column, ["the baseline does not vary within arms: left out"]


def _unsupported(cells: _Cells, fixed: np.ndarray, covariance: str) -> str:
    """Return why the data do not support a covariance; empty where they do.

    Complete data leave the patients less the fixed effects of a visit as degrees of freedom, and a Wishart
    distribution has a density from as many as there are visits (Anderson 2003, section 7.2).
    """
    seen = np.zeros((len(cells.series.ids), len(cells.visits)))
    seen[cells.series.patient, cells.visit] = 1
    seen = seen[:, seen.any(axis=0)]
    visits = seen.shape[1]
    spent = fixed.shape[1] / max(visits, 1)
    pairs, free = seen.T @ seen, len(fixed) - fixed.shape[1]
    if covariance == "unstructured" and pairs.min(initial=np.inf) - spent < visits:
        return (
            f"{visits} visits need {visits} patients beyond the {spent:g} fixed effects of a visit seen at each two "
            f"visits; the fewest are {pairs.min():g}"
        )
    if covariance == "heterogeneous_compound_symmetry" and np.diag(pairs).min(initial=np.inf) - spent < 1:
        return f"a visit has {np.diag(pairs).min():g} patients for {spent:g} fixed effects"
    parameters = {"unstructured": visits * (visits + 1) // 2, "heterogeneous_compound_symmetry": visits + 1}
    needed = min(parameters.get(covariance, 2), visits * (visits + 1) // 2)
    return "" if free >= needed > 0 else f"{len(fixed)} values for {fixed.shape[1]} fixed effects"


Row = dict[str, object]
"""A row of the answer."""


def _means(cells: _Cells, fitted: _Fitted) -> Iterator[Row]:
    for arm, visit in np.ndindex(fitted.column.shape):
        yield _row(cells, fitted, "ls_mean", visit, {arm: 1.0})


def _contrasts(cells: _Cells, fitted: _Fitted, against: int) -> Iterator[Row]:
    for arm, visit in np.ndindex(fitted.column.shape):
        if arm != against:
            yield _row(cells, fitted, "contrast", visit, {arm: 1.0, against: -1.0})


def _row(cells: _Cells, fitted: _Fitted, term: str, visit: int, weights: dict[int, float]) -> Row:
    """Return a weighted sum of the arms' means at a visit; the first arm named is whose row it is."""
    arms = list(weights)
    at_visit = cells.counts[arms, visit]
    series = cells.series.keep(np.isin(cells.arm, arms))
    names = [str(cells.arms[arm]) for arm in arms]
    notes = [*fitted.notes, *([" minus ".join(names)] if len(arms) > 1 else [])]
    missing = [f"{name} has no value at this visit" for name, n in zip(names, at_visit, strict=True) if not n]
    notes += [f"{name} has one patient at this visit" for name, n in zip(names, at_visit, strict=True) if n == 1]
    trend = _trend(series, fitted, {fitted.column[arm, visit]: w for arm, w in weights.items()}, [*notes, *missing])
    own: Row = {"term": term, "arm": cells.arms[arms[0]], "visit": cells.visits[visit]}
    return {**asdict(trend), **own, "n_patients": int(at_visit.sum())}


def _trend(series: Series, fitted: _Fitted, weights: dict[int, float], notes: list[str]) -> Trend:
    """Return a contrast of fixed effects, named by their columns; nothing where one has no column or none is fitted."""
    if fitted.fit is None or min(weights) < 0:
        return limits.nothing(series, "; ".join(notes), method=fitted.method)
    vector = np.zeros(len(fitted.fit.beta))
    vector[list(weights)] = list(weights.values())
    found = reml.contrast(fitted.fit, vector, information="observed")
    method = fitted.method
    if found.information != "observed":
        method = method.replace("observed", found.information)
        notes = [*notes, f"the observed information is not that of a maximum: {found.information} instead"]
    if found.linear and np.any(fitted.fit.sensitivity.second):
        notes = [*notes, "the second derivatives of the covariance are left out of the se (kr linear)"]
    return limits.trend(
        series,
        found.estimate,
        found.se,
        found.df,
        kind=reml.INTERVAL_KINDS[found.information],
        method=method,
        note=tuple(notes),
    )

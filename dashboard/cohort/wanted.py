"""What a reader chose on the page: checked, since a browser may send anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dashboard import words
from dashboard.cohort import rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from dashboard.study import Study

SHOWS = {"bands": "quantile bands", "lines": "patients as lines", "change": "change from baseline"}
"""What the first figure can show."""

SCALES = {"linear": "linear", "log": "log"}
COLOURS = {"none": "one colour", "arm": "by arm", "condition": "by condition"}
UNITS = {"percent": "per cent", "amount": "the unit"}
BESTS = {"best": "greatest decrease", "latest": "latest visit"}
VIEWS = {"waterfall": "Change of each patient", "lanes": "Treatments and events", "forest": "Rates"}
"""Choices of one, as they are offered; the first is the usual one."""

LINES_BELOW = 20
"""Below so many patients the first figure shows lines at first: their quantiles would be single patients."""

LONGEST_SEARCH = 100
"""Characters of a search that are looked at."""

LONGEST_ORDER = 40
"""Patients whose lanes and rates are drawn at a time."""

NAMED, NONE = "=", "-"
"""Begin, and are, the value of a choice of one condition, arm or site: the one of that name, or none."""


@dataclass(frozen=True)
class Wanted:
    """What a reader chose; made by ``checked`` from what a browser sent.

    Attributes
    ----------
    quantity, compartment, scale, show, colour, unit, best, view : str
        As offered.
    condition, arm, site : str or None
        Name; empty for patients without one, None for all.
    verdict : str or None
    search : str
        In small letters; empty for all.
    """

    quantity: str
    compartment: str
    scale: str
    show: str
    colour: str
    unit: str
    best: str
    view: str
    condition: str | None = None
    arm: str | None = None
    site: str | None = None
    verdict: str | None = None
    search: str = ""

    @property
    def log(self) -> bool:
        """A logarithmic axis; changes have none."""
        return self.scale == "log" and self.show != "change"

    @property
    def percent(self) -> bool:
        """Changes in per cent of the baseline."""
        return self.unit == "percent"

    @property
    def narrowed(self) -> bool:
        """Anybody left out."""
        return bool(self.search) or any(one is not None for one in (self.condition, self.arm, self.site, self.verdict))


def checked(study: Study, sent: Mapping[str, object]) -> Wanted:
    """Return what was chosen; what is not offered is taken as the usual choice, or as all."""
    quantity, compartment = study.offered(sent.get("quantity"), sent.get("compartment"))
    usual = "bands" if len(study.ids) >= LINES_BELOW else "lines"
    about = rows.people(study)
    verdict = sent.get("verdict")
    search = sent.get("search")
    return Wanted(
        quantity=quantity,
        compartment=compartment,
        scale=_one(sent.get("scale"), SCALES),
        show=_one(sent.get("show"), SHOWS, usual),
        colour=_one(sent.get("colour"), COLOURS),
        unit=_one(sent.get("unit"), UNITS),
        best=_one(sent.get("best"), BESTS),
        view=_one(sent.get("view"), VIEWS),
        **{name: _group(sent.get(name), rows.groups(about, name)) for name in rows.ABOUT},
        verdict=verdict if isinstance(verdict, str) and verdict in rows.VERDICTS else None,
        search=search.strip()[:LONGEST_SEARCH].lower() if isinstance(search, str) else "",
    )


def order(study: Study, sent: object) -> list[int]:
    """Return the places of the patients that stand first in the table, as far as a browser sent known ones."""
    named = [one for one in sent[:LONGEST_ORDER] if isinstance(one, str)] if isinstance(sent, list) else []
    known = rows.known_rows(study)
    return list(dict.fromkeys(known[one] for one in named if one in known))


def chosen(study: Study, sent: object) -> int | None:
    """Return the place of the chosen patient; None where a browser sent nobody known."""
    return rows.known_rows(study).get(sent) if isinstance(sent, str) else None


def kept(people: pd.DataFrame, wanted: Wanted) -> np.ndarray:
    """Tell which patients a choice leaves; the table asks the same of its rows (``passes`` in cohort.js)."""
    left = np.ones(len(people), bool)
    for name in (*rows.ABOUT, "verdict"):
        one = getattr(wanted, name)
        if one is not None:
            left &= people[name].to_numpy(object) == one
    if wanted.search:
        left &= np.fromiter((wanted.search in text for text in people["find"]), bool, len(people))
    return left


def sentence(wanted: Wanted, left: int, total: int) -> str:
    """Say which patients are shown.

    >>> from dataclasses import replace
    >>> wanted = Wanted("volume_mm3", "total", *([""] * 6), condition="JDM", arm="A")
    >>> sentence(wanted, 312, 1000).replace(words.THIN, ",")
    '312 of 1,000 patients: JDM, arm A.'
    >>> sentence(replace(wanted, condition=None, arm=None), 1, 1)
    'All 1 patient.'
    """
    named = "patient" if total == 1 else "patients"
    if not wanted.narrowed:
        return f"All {words.number(total)} {named}."
    parts = [rows.group_name(name, one) for name in rows.ABOUT if (one := getattr(wanted, name)) is not None]
    if wanted.verdict is not None:
        parts.append(verdict_name(wanted.verdict))
    if wanted.search:
        parts.append(f"“{wanted.search}” in the text")
    return f"{words.number(left)} of {words.number(total)} {named}: {', '.join(parts)}."


def verdict_name(verdict: str) -> str:
    """Return a verdict as it is offered.

    >>> verdict_name("decreased"), verdict_name("none")
    ('decreased', 'no comparison')
    """
    return "no comparison" if verdict == rows.NO_COMPARISON else words.mark(words.VERDICTS, verdict).word


def _one(sent: object, offered: Mapping[str, str], usual: str | None = None) -> str:
    if isinstance(sent, str) and sent in offered:
        return sent
    return next(iter(offered)) if usual is None else usual


def _group(sent: object, offered: list[str]) -> str | None:
    """Return the condition, arm or site that was chosen; None for all."""
    if not isinstance(sent, str) or not sent:
        return None
    name = "" if sent == NONE else sent.removeprefix(NAMED) if sent.startswith(NAMED) else None
    return name if name in offered else None

"""What can be chosen on a patient's page, and what was: anything else that comes from a browser is the first offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboard import words
from dashboard.patient import clock, rows
from monitor.words import judged_by_excess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dashboard.patient.own import Own

EXCESS = "excess_hu_mm3"
"""What carries a change where volume is not resolved."""

NORMS = {
    "": "absolute",
    "_per_m2": "per m² of body surface",
    "_per_growth": "less the growth of the imaged part",
    "_per_cm": "per cm of vessel",
}
"""What an amount can be divided by: suffix of the quantity, and words (``monitor.growth``)."""

EVERY = "every compartment"
"""The choice of all compartments side by side; no compartment has a space in its name."""

SCALES = {
    "linear": "linear",
    "log": "log",
    "change": "change from baseline",
    "percent": "change in per cent",
}
"""Vertical scales by name."""

EXTRAS = {"fit": "fitted line", "nadir": "band round the lowest", "dose": "dose"}
"""What can be shown beside."""

USUAL = ("fit",)
"""Of them, what is shown at first."""

NO_SCORE = ""
"""The choice of no reader's score."""


@dataclass(frozen=True)
class Choice:
    """What is shown of a patient: all of it is offered by the patient's own results."""

    quantity: str
    norm: str = ""
    compartment: str = "total"
    time: str = "years"
    scale: str = "linear"
    extras: tuple[str, ...] = USUAL
    score: str = NO_SCORE

    @property
    def measured(self) -> str:
        """The quantity as the tables name it."""
        return self.quantity + self.norm


@dataclass(frozen=True)
class Offer:
    """What a patient's results offer; the first of each is shown at first."""

    quantities: tuple[str, ...]
    norms: Mapping[str, tuple[str, ...]]
    compartments: tuple[str, ...]
    times: tuple[str, ...]
    scores: tuple[str, ...]


def offer(own: Own) -> Offer:
    """Return what one patient's results offer."""
    measured = {quantity for quantity, _ in own.amounts} or {"volume_mm3"}
    bases = {name: _base(name) for name in measured - set(words.BESIDE)}
    norms: dict[str, list[str]] = {}
    for name, base in bases.items():
        norms.setdefault(base, []).append(name.removeprefix(base))
    known = [name for name in words.QUANTITIES if name in norms]
    if _rests_on_excess(own) and EXCESS in known:
        known = [EXCESS, *(name for name in known if name != EXCESS)]
    places = {compartment for _, compartment in own.amounts} or {"total"}
    return Offer(
        quantities=tuple(known + sorted(set(norms) - set(known))),
        norms={base: tuple(norm for norm in NORMS if norm in has) for base, has in norms.items()},
        compartments=tuple(sorted(places, key=lambda name: (name != "total", name))),
        times=clock.offered(own),
        scores=tuple(sorted({str(row["quantity"]) for row in own.scores})),
    )


def _rests_on_excess(own: Own) -> bool:
    """Tell whether the latest verdict on volume is that of the excess: then the excess is what is to be looked at."""
    latest = rows.latest(own.changes("volume_mm3", "total"), "baseline")
    return latest is not None and judged_by_excess(latest)


def _base(quantity: str) -> str:
    """Return a quantity without what it is divided by.

    >>> _base("volume_mm3_per_m2"), _base("agatston")
    ('volume_mm3', 'agatston')
    """
    return next((quantity.removesuffix(norm) for norm in NORMS if norm and quantity.endswith(norm)), quantity)


def choose(offered: Offer, given: Mapping[str, object]) -> Choice:
    """Return what was chosen, by the name of the field; what is not offered is the first that is."""
    quantity = _one(given.get("quantity"), offered.quantities)
    named = given.get("extras", USUAL)
    extras = tuple(name for name in EXTRAS if name in named) if isinstance(named, list | tuple) else USUAL
    return Choice(
        quantity=quantity,
        norm=_one(given.get("norm"), offered.norms.get(quantity, ("",))),
        compartment=_one(given.get("compartment"), (*offered.compartments, EVERY)),
        time=_one(given.get("time"), offered.times),
        scale=_one(given.get("scale"), tuple(SCALES)),
        extras=extras,
        score=_one(given.get("score", offered.scores[0] if offered.scores else NO_SCORE), (NO_SCORE, *offered.scores)),
    )


def _one(given: object, offered: Sequence[str]) -> str:
    return given if isinstance(given, str) and given in offered else offered[0]

"""A made-up child, scanned again and again: the truth for tests, the demo and the check of the product itself.

``series`` makes the visits of one child, ``write_study`` a study folder of three. Lesions are shapes whose volume
is known in closed form; they move with the place they lie in and are not strained by growth or by the give of
tissue. What maps a visit to the baseline is written down, so that every point has a true partner.
"""

from monitor.phantom.dicom import write_dicom
from monitor.phantom.study import study_visits, write_study
from monitor.phantom.visits import SCENES, PhantomVisit, Setting, render, series, truth

__all__ = [
    "SCENES",
    "PhantomVisit",
    "Setting",
    "render",
    "series",
    "study_visits",
    "truth",
    "write_dicom",
    "write_study",
]

"""The page of all patients: what became of everybody, and the way to one of them."""

from dashboard.cohort.callbacks import register
from dashboard.cohort.layout import layout

__all__ = ["layout", "register"]

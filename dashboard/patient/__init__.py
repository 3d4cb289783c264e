"""The page of one patient: verdict, trajectory, lesions and their pictures, family tree, scans, what was refused."""

from dashboard.patient.callbacks import register
from dashboard.patient.layout import layout

__all__ = ["layout", "register"]

"""Follow calcifications over serial scans: how much, where, and whether a change is real.

The line: study, scan, anatomy, lesions, registration, tracking, burden, change, trend.

>>> import monitor
>>> sorted(monitor.__all__)
['RegistrationError', 'Results', 'ScanError', 'StudyError', 'follow', 'read', 'register', 'stats']
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitor import stats
    from monitor.errors import RegistrationError, ScanError, StudyError
    from monitor.pipeline import follow, register
    from monitor.scan import read
    from monitor.store import Results

__all__ = ["RegistrationError", "Results", "ScanError", "StudyError", "follow", "read", "register", "stats"]

_HOME = {
    "follow": "pipeline",
    "read": "scan",
    "register": "pipeline",
    "Results": "store",
    **dict.fromkeys(("RegistrationError", "ScanError", "StudyError"), "errors"),
}
"""Where each public name lives: loaded when it is first used (PEP 562), so that a part costs only what it needs."""


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for."""
    if name == "stats":
        return import_module("monitor.stats")
    if name not in _HOME:
        raise AttributeError(f"module 'monitor' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"monitor.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})

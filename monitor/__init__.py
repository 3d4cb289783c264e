"""Follow calcifications over serial scans: how much, where, and whether a change is real.

The line: study, scan, anatomy, lesions, registration, tracking, burden, change, trend.

>>> import monitor
>>> sorted(monitor.__all__)
['RegistrationError', 'Results', 'ScanError', 'StudyError', 'follow', 'read', 'register', 'stats']
"""

from monitor import stats
from monitor.pipeline import follow, register
from monitor.scan import read
from monitor.store import Results
from monitor.types import RegistrationError, ScanError, StudyError

__all__ = ["RegistrationError", "Results", "ScanError", "StudyError", "follow", "read", "register", "stats"]

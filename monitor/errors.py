"""The errors on which a caller acts: a scan, a study, a registration or a folder that cannot be used."""

from __future__ import annotations


class ScanError(ValueError):
    """A scan that cannot be trusted.

    Attributes
    ----------
    code : str
        Which rule was broken, in kebab-case: the ``code`` of table ``refused``.

    Examples
    --------
    >>> import pickle
    >>> pickle.loads(pickle.dumps(ScanError("not-ct", "a CT is needed"))).code
    'not-ct'
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[ScanError], tuple[str, str]]:
        """Let it cross from a worker process whole."""
        return type(self), (self.code, str(self))


class StudyError(ValueError):
    """A study folder that cannot be read at all (exit status 2)."""


class StoreError(ValueError):
    """A folder of results, or of what is made of them, that cannot be used (exit status 2)."""


class RegistrationError(ValueError):
    """Two scans that could not be brought together believably."""

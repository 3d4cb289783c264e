"""A page as a tagged PDF: HTML in, bytes out, the same bytes for the same page."""

from __future__ import annotations

import functools
import importlib
import logging
from typing import TYPE_CHECKING, Any

from monitor.types import StudyError

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIANT = "pdf/ua-1"
"""The kind of PDF: tagged, so that it can be heard (ISO 14289-1)."""


def pdf(pages: Iterable[str], *, most: int | None = None) -> bytes:
    """Return the first of the pages that fits on so many sheets, as a PDF; the last one where none does.

    Parameters
    ----------
    pages : iterable of str
        HTML that needs nothing else, the fullest first.
    most : int, optional
        So many sheets at most; without it the first page is taken.

    Raises
    ------
    StudyError
        If weasyprint or the libraries that it needs are missing.
    """
    weasyprint = _weasyprint()
    fonts = importlib.import_module("weasyprint.text.fonts").FontConfiguration()
    document: Any = None
    for page in pages:
        html = weasyprint.HTML(string=page, base_url="about:blank", url_fetcher=_within(weasyprint))
        document = html.render(font_config=fonts, pdf_variant=VARIANT)
        if most is None or len(document.pages) <= most:
            break
    written: bytes = document.write_pdf(pdf_variant=VARIANT)
    return written


@functools.cache
def available() -> bool:
    """Tell whether a PDF can be made here: weasyprint is installed, and finds the system's pango."""
    try:
        _weasyprint()
    except StudyError:
        return False
    return True


def _weasyprint() -> Any:
    """Import weasyprint where it is asked for alone: it takes half a second, and pango, which not all machines have."""
    try:
        found = importlib.import_module("weasyprint")
    except (ImportError, OSError) as error:
        came = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StudyError(
            f"a report as PDF needs weasyprint and the library pango; got {came}. "
            'Install both: pip install "calcitrack[pdf]", and pango from the system (Debian: libpango-1.0-0 '
            "libpangoft2-1.0-0). A report as .html needs nothing"
        ) from None
    # It warns of every property that paper does not know.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    return found


def _within(weasyprint: Any) -> Any:
    """Return what fetches data URIs and nothing else: no page of ours names a place outside of it."""
    return weasyprint.urls.URLFetcher(allowed_protocols=["data"])

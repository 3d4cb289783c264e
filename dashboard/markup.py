"""Study text in figures: what a study wrote is shown as it is written, never read as markup."""

from __future__ import annotations

LIVE = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("%{", "%&#123;"))
"""What plotly reads as an entity, as a tag or as a place to fill in, and what it shows as just these characters.

The ampersand comes first, or those of the others would be replaced again.
"""


def plain_text(text: object) -> str:
    """Return text of the study as plotly shows it letter by letter: in names, labels, ticks, annotations and hover.

    >>> plain_text("<b>5 mg</b> & %{x}")
    '&lt;b&gt;5 mg&lt;/b&gt; &amp; %&#123;x}'
    """
    shown = str(text)
    for live, dead in LIVE:
        shown = shown.replace(live, dead)
    return shown

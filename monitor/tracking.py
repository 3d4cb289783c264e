"""One identity per lesion over all visits: who goes on, appears, ends, merges, splits or was not seen."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from monitor._tracking import chains, drift, pieces, story
from monitor._tracking.chains import LEAST_IN_FIELD
from monitor._tracking.corrections import Correction, applied, contradictions
from monitor._tracking.pieces import Occasion
from monitor._tracking.story import COLUMNS

__all__ = ["COLUMNS", "LEAST_IN_FIELD", "Correction", "Occasion", "contradictions", "follow"]


def follow(occasions: Sequence[Occasion], corrections: Sequence[Correction] = ()) -> pd.DataFrame:
    """Give every piece of every visit an identity.

    Parameters
    ----------
    occasions : sequence of Occasion
        In order of date.
    corrections : sequence of Correction
        Of what is followed without them, whose numbers stay; none of ``contradictions``.

    Returns
    -------
    DataFrame
        A row for each lesion at each visit from its first. ``status`` is baseline, new, first_seen,
        present, resolved, merged, split or not_in_field; ``score``, 0 to 1, tells how well the place agrees with
        that of the piece before, of the whole that it came off or went into; 1 where a reviewer said so. A lesion
        of which the field cut off more than a tenth is not_in_field, and has its piece's ``label`` all the same.

    Raises
    ------
    ValueError
        If a correction contradicts what was followed or another one.

    Notes
    -----
    What registration left at each visit is estimated from neighbours that moved alike, and taken away. Any two
    pieces of any two visits may be linked; the set of chains with the greatest sum of gains over all visits keeps
    the identities. A chain that ends in the place of a larger piece went into it, one that begins within an earlier
    piece came off it. Neither order nor numbers of the pieces matter.
    """
    found = pieces.of(occasions)
    off = drift.of(occasions, found)
    known = story.Known(occasions, found, pieces.near(found, off.shift_mm, off.reach), pieces.sight(occasions, found))
    gain = chains.gains(found, known.near, known.sight)
    lesions = dict(enumerate(story.largest_first(known, chains.solved(gain, len(found))), start=1))
    plain = _table(story.rows(known, lesions))
    if not corrections:
        return plain
    if refused := contradictions(plain, corrections):
        raise ValueError("; ".join(refused.values()))
    visits = {n: occasions[piece.visit].visit_id for n, piece in enumerate(found)}
    table = _table(story.rows(known, applied(lesions, visits, corrections)))
    said = {(one.visit_id, one.is_lesion_id) for one in corrections}
    named = pd.Series([key in said for key in zip(table["visit_id"], table["lesion_id"], strict=True)], dtype=bool)
    return table.assign(score=table["score"].mask(named, 1.0))


def _table(rows: list[story.Row]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=COLUMNS)
    whole = dict.fromkeys(["lesion_id", "label", "from_lesion_id", "into_lesion_id"], "Int64")
    return table.astype({**whole, "score": float})

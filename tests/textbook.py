"""Tables of the textbooks that oracles come from; they lie beside the repository, which must not hold them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "statistics"


def textbook(name: str, **columns: str) -> pd.DataFrame:
    """Read a table, its columns renamed; where it is absent the test is skipped, and the others go on."""
    path = FOLDER / f"{name}.csv"
    if not path.exists():
        pytest.skip(
            f"the oracle's data, shared/data/statistics/{path.name}, is no part of the repository and is not here"
        )
    return pd.read_csv(path).rename(columns=columns)

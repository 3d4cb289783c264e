"""``python -m dashboard RESULTS``: show a results folder on this machine, or to others who know a token."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from dashboard.access import Access
from dashboard.app import serve
from monitor.errors import StoreError

VARIABLE = "CALCITRACK_TOKEN"
"""Environment variable that holds the token. It is no argument, since all users of a machine see those."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments and show the results until interrupted; wrong ones end with status 2."""
    parser = argparse.ArgumentParser("python -m dashboard", description="Show results in a browser.")
    parser.add_argument("results", type=Path, metavar="RESULTS", help="the folder that calcitrack run published to")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8050, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--name", action="append", default=[], metavar="HOST", help="a host name that browsers use")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=f"holds the token; or set {VARIABLE}")
    parser.add_argument("--https", action="store_true", help="a proxy before this server speaks https")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # What a PDF is made of in ten steps is nothing for this log.
    for name in ("weasyprint", "fontTools"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        # Cookies do not tell ports apart: each server has names of its own for them.
        mark = f"_{secrets.token_hex(4)}"
        access = Access(given.host, tuple(given.name), _token(given.token_file), given.https, mark)
        serve(given.results, access, port=given.port)
    except (StoreError, ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        logging.getLogger(__name__).info("the dashboard has ended")


def _token(file: Path | None) -> str:
    """Return the token that a file or else the environment holds; empty where neither is given."""
    if file is None:
        return os.environ.get(VARIABLE, "")
    token = file.read_text(encoding="utf-8").strip()
    if not token:
        raise ValueError(f"a token file must hold the token; {file} is empty")
    return token


if __name__ == "__main__":
    main()

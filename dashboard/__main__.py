"""``python -m dashboard RESULTS``: show a results folder on this machine."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from dashboard.app import serve
from monitor.errors import StoreError


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments and show the results until interrupted; wrong ones end with status 2."""
    parser = argparse.ArgumentParser("python -m dashboard", description="Show results in a browser, on this machine.")
    parser.add_argument("results", type=Path, metavar="RESULTS", help="the folder that calcitrack run published to")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8050, help="0 takes a free one (default: %(default)s)")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        serve(given.results, host=given.host, port=given.port)
    except (StoreError, ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        logging.getLogger(__name__).info("the dashboard has ended")


if __name__ == "__main__":
    main()

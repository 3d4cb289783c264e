"""The parts of describing a piece, one idea a module; ``monitor.describe`` is their only user."""

"""The parts of measuring, one idea a module; ``monitor.burden`` is their only user."""

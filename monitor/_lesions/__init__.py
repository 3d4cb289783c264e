"""The parts of finding, one idea a module; ``monitor.lesions`` is their only user."""

"""The parts of comparing, one idea a module; ``monitor.change`` is their public face."""

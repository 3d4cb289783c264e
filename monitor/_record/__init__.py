"""The parts of ``monitor.record``: which pieces are compared voxel by voxel, and where the answers stand."""

"""The parts of ``monitor.record``: comparisons voxel by voxel, places in the common frame, and the order of rows."""

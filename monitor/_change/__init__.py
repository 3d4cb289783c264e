"""The parts of ``monitor.change``: what came, went and stayed, voxel by voxel."""

"""Parts of ``monitor.registration``: scales, starts, linear maps, bending, and whether to believe it."""

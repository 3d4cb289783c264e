"""Parts of ``monitor.tracking``: pieces, what registration left, links over all visits, the story they tell."""

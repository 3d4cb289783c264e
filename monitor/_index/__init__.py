"""How an export is indexed: its series, the choice among them, and the folder that comes of it."""

"""How pieces of mineral are told from each other."""

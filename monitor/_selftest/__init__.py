"""The parts of the selftest: what is put into a scan, the visits made of it, and what the line says of them."""

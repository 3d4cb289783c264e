"""Accuracy, time and memory beside peers, as tables: ``python -m benchmarks.registration``."""

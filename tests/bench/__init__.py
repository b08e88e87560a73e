"""Measure fetchq against other downloaders: ``python -m tests.bench --help``."""

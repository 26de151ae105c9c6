"""Benchmarks: `python -m bench NAME [--data DIR] [--quick]`.

Each prints a table for people and, as its last line, one JSON object. A peer is measured in the same run on the same
data; the figure is the ratio.
"""

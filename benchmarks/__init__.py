"""Measurements. Each compares things within one run, on one machine: ratios, never bare times."""

"""Figures of networks, training runs and formulas, by matplotlib."""

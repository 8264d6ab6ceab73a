"""Predicted outcomes: pinned calibrations and published columns."""

"""Diagnostics, one a file."""

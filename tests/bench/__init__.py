"""Tests mirror the four packages."""

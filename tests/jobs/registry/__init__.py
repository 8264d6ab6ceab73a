"""Tests: candidate, champion, drift, and the reviewer's decision."""

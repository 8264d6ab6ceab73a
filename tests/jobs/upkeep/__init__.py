"""Tests: Upkeep that never breaks a pin: retention, erasure, migration."""

"""Five hundred small windows in one process: memory must not grow with their number."""

"""Order, retries, schedules and the command line. No arithmetic."""

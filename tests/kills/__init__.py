"""Two hundred SIGKILLs: after each, a second run of the command leaves what one run leaves."""

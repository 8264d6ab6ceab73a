"""Simulations of corrected effects, with their committed results."""

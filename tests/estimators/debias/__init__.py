"""Tests of the corrections of predicted outcomes."""

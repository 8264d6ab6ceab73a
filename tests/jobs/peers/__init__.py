"""Tests: other packages on the same features, folds and predictions."""

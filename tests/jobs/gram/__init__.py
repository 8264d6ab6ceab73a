"""Tests of the Gram engine in the pipeline."""

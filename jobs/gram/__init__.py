"""The Gram engine in the pipeline: pinned feature files to committed partial Grams to sums."""

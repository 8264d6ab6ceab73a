"""What the features stage does in Spark: guarded SQL, history, contracts, folds, digest."""

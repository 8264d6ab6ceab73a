"""Other packages on the same features, folds and predictions: what a sceptic compares with."""

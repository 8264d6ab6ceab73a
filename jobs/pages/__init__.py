"""What a reviewer sees in MLflow: evidence from the record, figures, notes, views."""

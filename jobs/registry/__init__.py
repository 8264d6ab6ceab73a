"""Effects in MLflow's model registry: candidate, champion, drift, and the reviewer's decision."""

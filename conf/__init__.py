"""What a study is: models, loading, keys. Nothing heavy is imported here."""

"""The analyzer `openai`: it asks a model, one call a row."""

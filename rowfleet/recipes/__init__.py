"""Recipes: what to ask about a row. The bundled ones stand here as YAML."""

"""The parts of a recipe: each capability has a module with its pydantic models."""

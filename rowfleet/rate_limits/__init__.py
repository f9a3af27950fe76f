"""The rate limits that a fleet keeps together: a lane per model and key, shared through Redis."""

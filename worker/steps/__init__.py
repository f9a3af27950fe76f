"""Steps of a Celery worker: parts that start and stop with it (Celery calls them bootsteps)."""

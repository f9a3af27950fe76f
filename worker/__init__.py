"""Program 2: the Celery worker. `celery -A worker worker` finds the app in `worker.celery`."""

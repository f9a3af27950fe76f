"""The worker without events of tasks: `celery -A benchmarks.baselines.silent_worker worker`."""

from worker.celery import app

app.conf.worker_send_task_events = False

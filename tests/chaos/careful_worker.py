"""The plain app with what is commonly advised against loss."""

from tests.chaos.plain_worker import app

app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
)

"""The next version's worker."""

from worker import celery as program

app = program.app

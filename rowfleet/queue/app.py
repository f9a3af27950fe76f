"""Celery's app, which both programs share."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from redis.connection import parse_url

from rowfleet.queue.keys import SOCKET_TIMEOUT, broker_url, urgent
from rowfleet.settings import Settings

if TYPE_CHECKING:
    from celery import Celery


#: Seconds that a row may wait in a slot for its turn at the API; then it goes back to the ledger.
LONGEST_WAIT = 300

#: Seconds between looks for messages whose worker fell silent.
RESTORE_INTERVAL = 5

#: Seconds after which another worker may look, if the one that did died while looking.
RESTORE_MUTEX_EXPIRE = 30


def celery_app(settings: Settings) -> Celery:
    """Return the Celery app that both programs share; the worker adds its task to it.

    Raises InputError if no broker is named.
    """
    # A thirtieth of a second to import, which a submitter can do without.
    from celery import Celery
    from kombu.entity import Exchange
    from kombu.entity import Queue as KombuQueue

    url = broker_url(settings)
    if url.startswith("unix://"):
        # kombu's names for the scheme and for the database index
        url = url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)
    queue = settings.queue
    app = Celery("rowfleet", broker=url, set_as_current=False)
    if url.startswith("rediss://"):
        # kombu's default is to trust any certificate. Where the URL has options of TLS, kombu reads
        # only those, and Flower's page of queues only these, so these have them, too.
        given = {name: value for name, value in parse_url(url).items() if name.startswith("ssl_")}
        app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED, **given}
    app.conf.update(
        task_default_queue=queue,
        task_queues=[
            KombuQueue(name, Exchange(name, type="direct"), routing_key=name)
            for name in (urgent(queue), queue)
        ],
        task_default_exchange=queue,
        task_default_routing_key=queue,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        # The row's fate is in the ledger; Celery's limits end a prefork child that is stuck.
        # They know nothing of waiting for a turn, which is not to use a row's time up.
        task_time_limit=settings.time_limit + LONGEST_WAIT,
        task_soft_time_limit=settings.soft_time_limit + LONGEST_WAIT,
        worker_concurrency=settings.concurrency(),
        worker_pool=settings.pool,
        worker_max_tasks_per_child=100,
        worker_hijack_root_logger=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A broker that is full, or a replica since a fail-over, answers with an error: Celery's
        # default is to end the worker for that.
        broker_channel_error_retry=True,
        broker_connection_timeout=SOCKET_TIMEOUT,
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout,
            "unacked_key": f"{queue}.unacked",
            "unacked_index_key": f"{queue}.unacked_index",
            "unacked_mutex_key": f"{queue}.unacked_mutex",
            "unacked_mutex_expire": RESTORE_MUTEX_EXPIRE,
            "unacked_restore_interval": RESTORE_INTERVAL,
            "unacked_restore_throttle": 1,
            "queue_order_strategy": "priority",  # the urgent list first
            "global_keyprefix": settings.key_prefix,
            "socket_connect_timeout": SOCKET_TIMEOUT,
            "socket_keepalive": True,
            "health_check_interval": SOCKET_TIMEOUT,
        },
    )
    return app

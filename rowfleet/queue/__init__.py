"""The queue contract: Celery's app, its wire format, and the Redis keys they live in.

A message holds a batch id and a row number, nothing else: a row's cells never pass Redis.
Kombu keeps waiting messages in the list named like the queue, those of urgent batches in
`QUEUE.urgent`, and delivered ones that are not yet acknowledged in the hash `QUEUE.unacked`:
together they are what the autoscaler counts. Where no message waits but the ledger has rows for
later (a retry's delay), the list `QUEUE.waiting` says so, and `QUEUE.asleep` is there until then.
Documents that rows name have a queue of their own, `QUEUE.documents`, with the same keys behind it.
A message that names no row goes to the list `QUEUE.dead_letters`.
"""

"""Flower's configuration file: what its options can't say."""

import os

from flower.urls import handlers
from flower.views import monitor
from tornado.web import RedirectHandler, authenticated, url

# Flower leaves /metrics open to everybody. It names workers and counts rows, so it asks for the
# same sign-in as the rest.
monitor.Metrics.get = authenticated(monitor.Metrics.get)

# Under a prefix, Flower knows only the address with a slash behind it, which nobody types.
if prefix := os.environ.get("FLOWER_URL_PREFIX"):
    handlers.insert(0, url(r"", RedirectHandler, {"url": f"/{prefix}/"}))

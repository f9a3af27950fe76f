"""The files by which a pod speaks with the API server of its cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Where Kubernetes puts the pod's token, its namespace, and the server's certificate authority.
#: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

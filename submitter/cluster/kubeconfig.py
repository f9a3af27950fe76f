"""How a cluster is found: kubeconfig files, or the service account of a pod."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from rowfleet.errors import InputError
from rowfleet.services.service_account import SERVICE_ACCOUNT
from submitter.cluster.client import Cluster, Object

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration


def is_available(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether there is a cluster that could be asked. Takes no time, asks nothing."""
    environ = os.environ if environ is None else environ
    return bool(_kubeconfigs(environ)) or _is_in_cluster(environ)


def connect(
    *,
    context: str | None = None,
    namespace: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Cluster:
    """Return the cluster of the kubeconfig's context, or the one this process runs in.

    ``namespace`` wins over the context's own. Raises InputError where there is neither, or the
    kubeconfig can't be used.
    """
    environ = os.environ if environ is None else environ
    paths = _kubeconfigs(environ)
    if paths:
        return _from_kubeconfig(paths, context, namespace)
    where = environ.get("KUBECONFIG") or "~/.kube/config"
    if context is not None:
        raise InputError(f"--context {context}: there is no kubeconfig at {where}")
    if _is_in_cluster(environ):
        return _from_service_account(namespace)
    raise InputError(
        f"there is no kubeconfig at {where}, and this is no pod with a service account; "
        "set KUBECONFIG"
    )


def _kubeconfigs(environ: Mapping[str, str]) -> list[Path]:
    named = environ.get("KUBECONFIG") or "~/.kube/config"
    paths = [Path(part).expanduser() for part in named.split(os.pathsep) if part]
    return [path for path in paths if path.is_file()]


def _is_in_cluster(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (SERVICE_ACCOUNT / "token").is_file()


def _from_kubeconfig(paths: list[Path], context: str | None, namespace: str | None) -> Cluster:
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, load_kube_config

    where = os.pathsep.join(map(str, paths))
    documents = [_read_kubeconfig(path) for path in paths]
    # kubectl's rule: of two files that say something, the first one's word counts.
    named = [document.get("current-context") for document in documents]
    name = context or next((name for name in named if name), None)
    contexts = _named(documents, "contexts", "context")
    if name is None:
        raise InputError(
            f"{where}: has no current context; use --context, one of {_list(contexts)}"
        )
    if name not in contexts:
        option = "--context " if context else "the current context "
        raise InputError(f"{option}{name}: is not in {where}, which has {_list(contexts)}")
    cluster = _named(documents, "clusters", "cluster").get(str(contexts[name].get("cluster")))
    if not cluster or not cluster.get("server"):
        raise InputError(f"{where}: the context {name} names no cluster with a server")
    configuration = Configuration()
    with _plugin_errors() as said:
        try:
            load_kube_config(config_file=where, context=name, client_configuration=configuration)
        except (ConfigException, OSError, LookupError, TypeError, ValueError) as error:
            # Other texts of the client's may hold a whole user entry, its token included.
            why = str(error) if str(error).startswith("File does not exist") else "it is broken"
            raise InputError(f"{where}: the context {name} can't be used: {why}") from None
    if said:
        raise InputError(f"{where}: no credentials for the context {name}: {said[-1]}")
    namespace = namespace or contexts[name].get("namespace") or "default"
    return Cluster(_client(configuration), namespace, f"of the context {name}")


def _read_kubeconfig(path: Path) -> Object:
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{path}: is not YAML, as a kubeconfig is") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: is not a kubeconfig")
    return document


def _named(documents: list[Object], plural: str, singular: str) -> dict[str, Object]:
    found: dict[str, Object] = {}
    for document in documents:
        for entry in document.get(plural) or ():
            if isinstance(entry, dict) and "name" in entry:
                found.setdefault(str(entry["name"]), entry.get(singular) or {})
    return found


def _list(names: Mapping[str, Object]) -> str:
    return ", ".join(sorted(names)) or "none"


@contextmanager
def _plugin_errors() -> Iterator[list[str]]:
    """Collect what the client only logs: that a credentials plugin is missing or failed."""
    said: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        said.append(" ".join(record.getMessage().split())[:300])
        return False

    root = logging.getLogger()
    root.addFilter(collect)
    try:
        yield said
    finally:
        root.removeFilter(collect)


def _from_service_account(namespace: str | None) -> Cluster:
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, load_incluster_config

    configuration = Configuration()
    try:
        load_incluster_config(client_configuration=configuration)
        own = (SERVICE_ACCOUNT / "namespace").read_text("utf-8").strip()
    except (ConfigException, OSError) as error:
        raise InputError(f"the pod's service account can't be used: {error}") from None
    return Cluster(_client(configuration), namespace or own, "this pod runs in")


def _client(configuration: Configuration) -> ApiClient:
    import urllib3
    from kubernetes.client import ApiClient

    configuration.retries = False  # else urllib3 tries three times, and warns of each
    if not configuration.verify_ssl:  # which the kubeconfig says, so it is meant
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return ApiClient(configuration)

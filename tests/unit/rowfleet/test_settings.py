"""The environment's mistakes and oddities: secrets apart from URLs, and what Kubernetes adds."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest

from rowfleet.errors import InputError
from rowfleet.queue.client import Queue
from rowfleet.settings import load_settings

#: Everything that means something in a URL, in a shell or in an INI file.
PASSWORD = '/#?:@%"\\ ;&=+[]é'


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("redis://broker", None),
        ("redis://broker:6380/2", None),
        ("redis://fleet@broker/2", "fleet"),
        ("redis://fleet:@broker/2", "fleet"),
        ("redis://:@broker", None),
        ("rediss://fleet@broker/2?ssl_ca_certs=/etc/ca.crt", "fleet"),
        ("unix:///run/redis.sock", None),
        ("unix://fleet@/run/redis.sock?db=2", "fleet"),
    ],
)
def test_a_password_apart_is_joined_into_the_url(url: str, user: str | None) -> None:
    settings = load_settings({"REDIS_URL": url, "REDIS_PASSWORD": PASSWORD})
    joined = settings.broker_url()
    assert joined is not None
    parts, given = urlsplit(joined), urlsplit(url)
    assert parts._replace(netloc="") == given._replace(netloc="")
    assert (parts.hostname, parts.port) == (given.hostname, given.port)
    assert (parts.username or None, unquote(parts.password or "")) == (user, PASSWORD)
    ours = Queue(settings)._redis.connection_pool.connection_kwargs
    assert (ours.get("username"), ours["password"]) == (user, PASSWORD)


def test_without_a_password_apart_the_url_stays_as_it_is() -> None:
    url = "redis://fleet:a%2Fb@broker:6380/2"
    assert load_settings({"REDIS_URL": url}).broker_url() == url
    assert load_settings({"REDIS_URL": url, "REDIS_PASSWORD": ""}).broker_url() == url
    assert load_settings({"REDIS_PASSWORD": "hunter2"}).broker_url() is None


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        (
            {"REDIS_URL": "redis://:hunter1@h", "REDIS_PASSWORD": "hunter2"},
            "REDIS_PASSWORD: REDIS_URL has a password already; give it in one of the two",
        ),
        ({"REDIS_URL": "redis://:hunter1@h/zero", "REDIS_PASSWORD": "hunter2"}, "database number"),
        ({"REDIS_URL": "redis://h/0?password=hunter2"}, "that Celery doesn't take"),
        ({"REDIS_URL": "redis://h/0?db=hunter2"}, "that Redis clients don't know"),
        ({"REDIS_URL": "redis://h/0?socket_timeout=5"}, "that Celery doesn't take"),
        ({"REDIS_URL": "redis://h/0?ssl_ca_certs=/hunter2"}, "that Redis clients don't know"),
        ({"REDIS_URL": "rediss://h/0?ssl_sa_certs=/hunter2"}, "that Redis clients don't know"),
        ({"REDIS_URL": "unix:///s?ssl_ca_certs=/hunter2"}, "that Redis clients don't know"),
    ],
)
def test_a_wrong_broker_is_one_sentence_without_its_secret(
    environ: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_settings(environ)
    assert sentence in str(caught.value)
    assert "hunter" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com", "ftp://h/v1", "http://", "http://h:0/v1", "http://h:99999/v1",
        "http://h:x/v1", "http://[::1/v1", "http://h /v1", "http://h/v1\n", "http://h/v1?a=1",
        "http://h/v1#a",
    ],
)  # fmt: skip
def test_a_base_url_that_nothing_can_be_sent_to_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"^OPENAI_BASE_URL: must (be an http|have no)"):
        load_settings({"OPENAI_BASE_URL": url})


@pytest.mark.parametrize("url", ["http://h", "http://h:18734", "https://u:p%40@[::1]:5/v1/"])
def test_a_base_url_may_have_no_path(url: str) -> None:
    assert load_settings({"OPENAI_BASE_URL": url}).openai_base_url == url


def test_a_password_is_not_shown_with_the_settings() -> None:
    environ = {"REDIS_URL": "redis://h", "REDIS_PASSWORD": "hunter2"}
    assert "hunter2" not in repr(load_settings(environ))


@pytest.mark.parametrize(
    "name",
    [
        "ROWFLEET_PORT",
        "ROWFLEET_SERVICE_HOST",
        "ROWFLEET_SERVICE_PORT",
        "ROWFLEET_PORT_6379_TCP",
        "ROWFLEET_PORT_6379_TCP_ADDR",
        "ROWFLEET_REDIS_PORT",
        "ROWFLEET_REDIS_SERVICE_HOST",
        "ROWFLEET_REDIS_SERVICE_PORT_REDIS",
        "ROWFLEET_REDIS_PORT_6379_TCP_PROTO",
        "ROWFLEET_FLOWER_PORT_5555_TCP_PORT",
    ],
)
def test_what_kubernetes_says_of_services_is_no_setting(name: str) -> None:
    assert load_settings({name: "tcp://10.0.0.1:6379"}) == load_settings({})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ROWFLEET_SLOT", "ROWFLEET_SLOTS"),
        ("ROWFLEET_WINDOWS", "ROWFLEET_WINDOW"),
        ("ROWFLEET_KEYPREFIX", "ROWFLEET_KEY_PREFIX"),
        ("ROWFLEET_PORTS", "ROWFLEET_SLOTS"),
        ("ROWFLEET_SERVICE", "is not a setting"),
        ("ROWFLEET_EXPORT", "is not a setting"),
    ],
)
def test_a_misspelt_setting_is_still_refused(name: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"{name} is not a setting of Rowfleet") as caught:
        load_settings({name: "3"})
    assert meant in str(caught.value)

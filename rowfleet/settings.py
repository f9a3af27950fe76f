"""Settings, read once from the environment at a program's edge.

Standard names where there are any (`REDIS_URL`, `DATABASE_URL`, `OPENAI_API_KEY`,
`OPENAI_BASE_URL`), `ROWFLEET_*` for the rest. A misspelt name or an impossible value is an error
that names it, so that nothing runs for hours on an unwanted default.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from rowfleet import analyzer_kinds, masking
from rowfleet.documents.places.root import parse
from rowfleet.errors import InputError
from rowfleet.prices import Price
from rowfleet.recipes.recipe import AnalyzerName
from rowfleet.services.service_urls import check_database_url, check_redis_url

Pool = Literal["threads", "prefork", "gevent", "solo"]

#: How a worker takes and acknowledges messages: by `worker.transport`, or as kombu itself does.
Transport = Literal["rowfleet", "kombu"]

#: How a workbook's rows are read: plain ones by a pattern, or all of them by the XML parser.
SheetReader = Literal["pattern", "parser"]

#: More calls at once than any one process carries.
MOST_SLOTS = 10_000


class Settings(BaseModel):
    """All settings, by the field each environment variable fills."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    redis_url: SecretStr | None = None
    #: The broker's password, where it is kept apart from its URL.
    redis_password: SecretStr | None = None
    database_url: SecretStr | None = None
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    model: str = Field(default="gpt-5-mini", min_length=1)
    #: Model → its price, for models that have no list price or another.
    prices: dict[str, Price] = {}
    analyzer: AnalyzerName | None = None
    #: Concurrent calls of one worker process (threads, gevent) or its children (prefork).
    slots: int | None = Field(default=None, ge=1, le=MOST_SLOTS)
    pool: Pool = "threads"
    transport: Transport = "rowfleet"
    sheet_reader: SheetReader = "pattern"
    #: Limits of the API for each model, over the whole fleet; None goes by what the API says of
    #: itself, 0 is no limit.
    requests_per_minute: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    tokens_per_minute: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    #: How often a row is tried again after a transient error.
    max_retries: int = Field(default=3, ge=0, le=100)
    #: Seconds between tries, unless the API asks for another time with Retry-After.
    retry_delay: float = Field(default=60, ge=0, le=86_400)
    #: Seconds a row may take before its call is cancelled.
    soft_time_limit: float = Field(default=540, gt=0, le=86_400)
    #: Seconds after which a row that did not even react to that is given up.
    time_limit: float = Field(default=600, gt=0, le=86_400)
    #: Seconds between looks at remote batches (`--tier batch`), at first; up to six times as long.
    batch_poll: float = Field(default=10, ge=0.05, le=3600)
    #: Most requests in one file for the Batch API, and most megabytes (of 1,000,000 bytes).
    batch_file_rows: int = Field(default=50_000, ge=1, le=50_000)
    batch_file_mb: float = Field(default=200, gt=0, le=200)
    #: The queue's high-water mark, in rows.
    window: int = Field(default=10_000, ge=1, le=1_000_000)
    queue: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$")] = "rowfleet"
    #: Seconds after which a message whose worker fell silent is delivered again.
    visibility_timeout: int = Field(default=75, ge=5, le=3600)
    #: The folder of documents: a path, or a URI of a folder in an object store. An extractor reads
    #: no folder of its machine but this one.
    documents: str | None = None
    #: Prefix of every Redis key, for a Redis that others use too.
    key_prefix: str = ""

    @field_validator(
        "openai_api_key",
        "openai_base_url",
        "redis_url",
        "redis_password",
        "database_url",
        "documents",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        """Take an empty variable, as templates like to leave behind, for an unset one."""
        return None if value == "" else value

    @field_validator("prices", mode="before")
    @classmethod
    def _is_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError(
                'must be JSON like {"my-model": {"input": 0.25, "cached": 0.025, "output": 2}}, '
                "in USD per million tokens"
            ) from None

    @field_validator("redis_url")
    @classmethod
    def _is_a_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_redis_url(value.get_secret_value())
        return value

    @field_validator("redis_password")
    @classmethod
    def _is_the_only_password(cls, value: SecretStr | None, info: object) -> SecretStr | None:
        url = getattr(info, "data", {}).get("redis_url")
        if value is not None and url is not None and urlsplit(url.get_secret_value()).password:
            raise ValueError("REDIS_URL has a password already; give it in one of the two")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_a_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_database_url(value.get_secret_value())
        return value

    @field_validator("openai_base_url")
    @classmethod
    def _is_an_http_url(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parts = urlsplit(value)
                is_one = parts.scheme in ("http", "https") and bool(parts.hostname)
                is_one = is_one and (parts.port is None or parts.port > 0)
            except ValueError:  # a port that is no number, or half a bracket
                is_one = False
            if not is_one:
                raise ValueError(
                    "must be an http:// or https:// URL, like https://api.openai.com/v1"
                )
            if not value.isprintable() or any(each in value for each in " ?#"):
                raise ValueError("must have no space, ? or #: the API's paths are put behind it")
        return value

    @field_validator("documents")
    @classmethod
    def _is_a_folder(cls, value: str | None) -> str | None:
        try:
            return None if value is None else str(parse(value))
        except InputError as error:
            raise ValueError(str(error).removeprefix("--documents ").removeprefix(": ")) from None

    @field_validator("time_limit")
    @classmethod
    def _is_above_the_soft_one(cls, value: float, info: object) -> float:
        soft = getattr(info, "data", {}).get("soft_time_limit")
        if soft is not None and value <= soft:
            raise ValueError(f"must be above ROWFLEET_SOFT_TIME_LIMIT ({soft:g} s)")
        return value

    def broker_url(self) -> str | None:
        """Return the broker's URL with its password in it, None if no broker is named."""
        if self.redis_url is None:
            return None
        url = self.redis_url.get_secret_value()
        if self.redis_password is None:
            return url
        parts = urlsplit(url)
        password = quote(self.redis_password.get_secret_value(), safe="")
        user, _, host = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user.rstrip(':')}:{password}@{host}").geturl()

    def concurrency(self) -> int:
        """Return the slots of one worker; where none are set, what its pool carries easily.

        A call in flight takes 2 MB on threads and 66 to 95 MB in a process of its own.
        """
        return self.slots or (10 if self.pool == "prefork" else 100)

    def default_analyzer(self) -> str:
        """Return the name of the analyzer for a recipe that names none."""
        key = self.openai_api_key
        usual = analyzer_kinds.WITH_KEY if key else analyzer_kinds.WITHOUT_KEY
        return self.analyzer or usual.name


#: Settings whose variables have the names that other programs know them by.
STANDARD = ("redis_url", "redis_password", "database_url", "openai_api_key", "openai_base_url")


def _variable(field: str) -> str:
    return field.upper() if field in STANDARD else f"ROWFLEET_{field.upper()}"


#: Environment variable → field of Settings.
VARIABLES = {_variable(field): field for field in Settings.model_fields}

#: Settings of single programs, which those read themselves.
OTHER_VARIABLES = frozenset(
    {
        "ROWFLEET_HEALTH_FILE",
        "ROWFLEET_EXIT_WITH_STDIN",
        "ROWFLEET_POD_NAME",
        "ROWFLEET_POD_NAMESPACE",
    }
)

#: What Kubernetes puts into every pod for a Service called `rowfleet` or `rowfleet-redis`, say;
#: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_LINK = re.compile(
    r"ROWFLEET(_.+)?_(SERVICE_(HOST|PORT(_.+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


def load_settings(environ: Mapping[str, str] | None = None, **options: object) -> Settings:
    """Read the settings from ``environ`` (default ``os.environ``); ``options`` win over it.

    An option that is None was not given. Raises InputError with a sentence that names the variable.
    """
    environ = os.environ if environ is None else environ
    for name in environ:
        if _SERVICE_LINK.fullmatch(name):
            continue
        if name.startswith("ROWFLEET_") and name not in VARIABLES and name not in OTHER_VARIABLES:
            close = difflib.get_close_matches(
                name, [v for v in VARIABLES if v.startswith("ROW")], n=1
            )
            hint = (
                f"did you mean {close[0]}?"
                if close
                else f"there are {', '.join(sorted(VARIABLES))}"
            )
            raise InputError(f"{name} is not a setting of Rowfleet; {hint}")
    values: dict[str, object] = {
        field: environ[name] for name, field in VARIABLES.items() if environ.get(name, "") != ""
    }
    values |= {field: value for field, value in options.items() if value is not None}
    masking.keep_secrets_of(environ)
    for field in ("redis_url", "database_url", "openai_base_url"):
        masking.keep_secrets_of_url(_plain(values.get(field)))
    for field in ("redis_password", "openai_api_key"):
        masking.keep_secret(_plain(values.get(field)))
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise InputError("; ".join(_sentence(item) for item in error.errors())) from None


def _plain(value: object) -> str | None:
    plain = value.get_secret_value() if isinstance(value, SecretStr) else value
    return plain if isinstance(plain, str) else None


def _sentence(item: object) -> str:
    assert isinstance(item, dict)
    field = str(item["loc"][0])
    message = item["msg"].removeprefix("Value error, ").replace("Input should", "should")
    secret = field.endswith(("_url", "_key", "_password"))  # a URL may hold a password
    inside = item["loc"][1:]  # whose value is not the variable's
    given = "" if secret or inside or "input" not in item else f"={item['input']}"
    where = "".join(f"{part}: " for part in inside)
    return f"{_variable(field)}{given}: {where}{message}"

"""moto's S3 server in a process of its own, with users whose rights it enforces.

moto checks each request's signature and the user's policy once that is switched on, and knows
conditions, ranges and uploads in parts. Another server that comes as a wheel, rclone's, has keys
that may do everything, answers a range with 200, and ignores conditions.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

#: Actions before rights are enforced: enough to make the users.
_UNCHECKED = "1000"
BUCKET = "sheets"


@dataclass(frozen=True)
class Key:
    id: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret}


@dataclass(frozen=True)
class S3Server:
    port: int
    owner: Key  #: May do everything.
    reader: Key  #: May read the objects in `BUCKET`, and nothing else.
    role: str  #: ARN of a role that may read them too.
    of_role: dict[str, str]  #: Credentials of that role, as STS gives them.

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> Any:
        """boto3, to look at the bucket past Rowfleet."""
        return _client("s3", self.url, self.owner)

    def put(self, key: str, content: bytes) -> str:
        """Keep an object and return its URI."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)
        return f"s3://{BUCKET}/{key}"

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def names(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [each["Key"] for each in found]


@contextmanager
def serving(log: Path) -> Iterator[S3Server]:
    """Run the server until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": _UNCHECKED},
            stdout=output,
            stderr=output,
        )
    try:
        _wait(process, port, log)
        yield _with_users(port)
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"moto did not start: {log.read_text()[-2000:]}")


def _client(service: str, url: str, key: Key) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]  # any service
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
    )


def _with_users(port: int) -> S3Server:
    url = f"http://127.0.0.1:{port}"
    anybody = Key("unchecked", "unchecked")
    iam = _client("iam", url, anybody)
    _client("s3", url, anybody).create_bucket(Bucket=BUCKET)
    objects = f"arn:aws:s3:::{BUCKET}/*"
    owner, reader = _user(iam, "owner", "s3:*", "*"), _user(iam, "reader", _READ, objects)
    role = iam.create_role(RoleName="pod", AssumeRolePolicyDocument=_policy("sts:*", "*"))
    arn = role["Role"]["Arn"]
    iam.put_role_policy(RoleName="pod", PolicyName="pod", PolicyDocument=_policy(_READ, objects))
    sts = _client("sts", url, anybody)
    of_role = sts.assume_role(RoleArn=arn, RoleSessionName="pod")["Credentials"]
    request = urllib.request.Request(
        f"{url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}, method="POST"
    )
    urllib.request.urlopen(request).close()
    return S3Server(port, owner, reader, arn, of_role)


_READ = "s3:GetObject"


def _policy(action: str, resource: str) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _user(iam: Any, name: str, action: str, resource: str) -> Key:
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=_policy(action, resource))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return Key(made["AccessKeyId"], made["SecretAccessKey"])

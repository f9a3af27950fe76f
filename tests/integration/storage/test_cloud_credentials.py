"""Credentials of S3, Google and Azure, and the sentences about those that are wrong."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from rowfleet.errors import InputError, ServiceError
from tests.support.storage_servers import web
from tests.support.storage_servers.s3 import BUCKET, S3Server
from tests.support.transfers import check, closed_port, fetch, left_behind, send, set_all


@pytest.mark.parametrize(
    ("uri", "who", "sentence"),
    [
        ("s3://nobody/a.xlsx", "owner", "there is no bucket 'nobody'"),
        ("s3://sheets/none.xlsx", "owner", "there is no such object"),
        ("s3://other/a.xlsx", "reader", "can't be read: permission denied"),
        ("s3://sheets/a//b.xlsx", "owner", "the key can't be used"),
        ("s3://sheets/a/../b.xlsx", "owner", "the key can't be used"),
        ("s3://sheets/a.xlsx", "wrong secret", "credentials are refused (SignatureDoesNotMatch)"),
        ("s3://sheets/a.xlsx", "nobody", "the credentials are refused (InvalidAccessKeyId)"),
        ("s3://sheets/a.xlsx", "half", "SecretAccessKey"),
        ("s3://sheets/a.xlsx", "none", "no credentials, none are set; set AWS_ACCESS_KEY_ID"),
        ("s3://sheets/a.xlsx", "empty", "no credentials, none are set; set AWS_ACCESS_KEY_ID"),
        ("s3://sheets/a.xlsx", "role", "no credentials, asking for them failed"),
    ],
)
def test_object_that_cannot_be_read(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch, uri: str, who: str, sentence: str
) -> None:
    keys: dict[str, dict[str, str]] = {
        "owner": aws.owner.environment,
        "reader": aws.reader.environment,
        "wrong secret": {"AWS_ACCESS_KEY_ID": aws.owner.id, "AWS_SECRET_ACCESS_KEY": "TeLLnone"},
        "nobody": {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "TeLLnone"},
        "half": {"AWS_ACCESS_KEY_ID": aws.owner.id},
        "none": {},
        "empty": {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        "role": {"AWS_WEB_IDENTITY_TOKEN_FILE": "/none", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"},
    }
    for name in aws.owner.environment:
        monkeypatch.delenv(name)
    set_all(monkeypatch, keys[who])
    with pytest.raises(InputError) as caught:
        fetch(uri)
    assert str(caught.value).startswith(f"{uri}: ")
    assert sentence in str(caught.value)
    assert "TeLLnone" not in str(caught.value)
    assert left_behind() == []


def test_machine_without_a_role_is_told_at_once(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in aws.owner.environment:
        monkeypatch.delenv(name)
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    # Nothing listens; then something that is no metadata service.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(InputError, match="no credentials, none are set"):
        fetch("s3://sheets/a.xlsx")
    with web.serving(web.Files()) as other:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{other.port}")
        with pytest.raises(InputError, match="no credentials, asking for them failed"):
            fetch("s3://sheets/a.xlsx")


def test_credentials_of_a_pod_are_used(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As EKS Pod Identity gives them: an address, and a file with the token to show there."""
    aws.put("pod.xlsx", b"content")
    for name in aws.owner.environment:
        monkeypatch.delenv(name)
    (tmp_path / "token").write_text("pod-token")
    with web.serving(web.Files()) as agent:
        given = aws.of_role | {"Token": aws.of_role["SessionToken"]}
        agent.files["/v1/credentials"] = json.dumps(given, default=datetime.isoformat).encode()
        address = f"http://127.0.0.1:{agent.port}/v1/credentials"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        assert fetch(f"s3://{BUCKET}/pod.xlsx") == b"content"
        del agent.files["/v1/credentials"]
        with pytest.raises(InputError, match="no credentials, asking for them failed"):
            fetch(f"s3://{BUCKET}/pod.xlsx")


def test_role_of_a_service_account_is_taken_on(
    aws: S3Server, https: web.Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As EKS gives it: a file with a token, for which STS gives the role's credentials."""
    aws.put("pod.xlsx", b"content")
    for name in aws.owner.environment:
        monkeypatch.delenv(name)
    (tmp_path / "token").write_text("service-account-token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", aws.role)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://127.0.0.1:{https.port}")
    given = "".join(
        f"<{name}>{aws.of_role[name]}</{name}>"
        for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
    )
    answer = f"<Credentials>{given}<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>"
    for element in ("AssumeRoleWithWebIdentityResult", "AssumeRoleWithWebIdentityResponse"):
        answer = f"<{element}>{answer}</{element}>"
    https.files["/"] = answer.encode()
    https.any_query = True
    assert fetch(f"s3://{BUCKET}/pod.xlsx") == b"content"
    with pytest.raises(InputError, match="can't be written: permission denied"):
        check(f"s3://{BUCKET}/new.xlsx")
    del https.files["/"]
    with pytest.raises(InputError, match="no credentials, asking for them failed"):
        fetch(f"s3://{BUCKET}/pod.xlsx")
    https.failing = 1_000
    with pytest.raises(ServiceError, match="the service that gives credentials does not answer"):
        fetch(f"s3://{BUCKET}/pod.xlsx")


def test_google_takes_what_a_service_account_signs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "key.json").write_text(web.service_account(pem.decode()))
    with web.serving(web.Google(key.public_key())) as google:
        monkeypatch.setenv("GOOGLE_BASE_URL", f"http://127.0.0.1:{google.port}")
        with pytest.raises(InputError, match="no credentials, none are set; set GOOGLE_APP"):
            fetch("gs://sheets/a.xlsx")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
        with pytest.raises(InputError, match=r"none\.json"):
            fetch("gs://sheets/a.xlsx")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        check("gs://sheets/in/a b.xlsx")
        assert google.files == {}
        send("gs://sheets/in/a b.xlsx", b"content")
        assert google.files == {"/sheets/in/a b.xlsx": b"content"}
        assert fetch("gs://sheets/in/a b.xlsx") == b"content"
        with pytest.raises(InputError, match="there is no such object"):
            fetch("gs://sheets/none.xlsx")
        with pytest.raises(InputError, match="there is no bucket 'nobody'"):
            check("gs://nobody/a.xlsx")
        google.key = rsa.generate_private_key(65537, 2048).public_key()
        with pytest.raises(InputError, match=r"the credentials are refused \(401\)"):
            fetch("gs://sheets/in/a b.xlsx")


@pytest.mark.parametrize("how", ["key", "connection string"])
def test_azure_takes_what_the_account_key_signs(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    key = "c2VjcmV0IGtleQ=="
    with pytest.raises(InputError, match="no storage account; set AZURE_STORAGE_ACCOUNT_NAME"):
        fetch("az://sheets/a.xlsx")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acme")
    with pytest.raises(InputError, match="no credentials, none are set; set AZURE"):
        fetch("az://sheets/a.xlsx")
    with web.serving(web.Azure("acme", key)) as azure:
        endpoint = f"http://127.0.0.1:{azure.port}/acme"
        if how == "key":
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", key)
        else:
            monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
            text = f"DefaultEndpointsProtocol=http;AccountName=acme;AccountKey={key};"
            text += f"BlobEndpoint={endpoint};"
            monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
        check("az://sheets/in/a b.xlsx")
        assert azure.files == {}
        send("az://sheets/in/a b.xlsx", b"content")
        assert azure.files == {"/acme/sheets/in/a b.xlsx": b"content"}
        assert fetch("az://sheets/in/a b.xlsx") == b"content"
        with pytest.raises(InputError, match="there is no such object"):
            fetch("az://sheets/none.xlsx")
        with pytest.raises(InputError, match="there is no container 'nobody'"):
            check("az://nobody/a.xlsx")
        assert isinstance(azure, web.Azure)
        azure.key = "b3RoZXI="
        with pytest.raises(InputError, match=r"permission denied|are refused"):
            fetch("az://sheets/in/a b.xlsx")

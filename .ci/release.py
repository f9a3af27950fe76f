"""Check that a tag can be released, and print the release's notes.

``python .ci/release.py v0.1.0 ghcr.io/owner https://github.com/owner/rowfleet`` wants one version
in the tag, pyproject.toml and the chart, and a dated section of CHANGELOG.md for it. The notes are
that section, and how to install from the registry. Exit code 2, with a sentence for each mistake.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

USAGE = "usage: python .ci/release.py TAG REGISTRY REPOSITORY_URL"
RELATIVE = re.compile(r"\]\((?![a-z]+://|#)")
INSTALL = """\
### Install

```console
$ helm install rowfleet oci://{registry}/charts/rowfleet --version {version} \\
    --set image.registry={registry} --set openai.existingSecret=openai
```

[SECURITY](SECURITY.md#verify-a-release) says how to verify the images and the chart.
"""


class NotReadyError(Exception):
    """The tag can't be released; the message has a sentence for each reason."""


def versions(root: Path) -> dict[str, str]:
    """Return the version that each file gives, by its place."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    chart = (root / "charts" / "rowfleet" / "Chart.yaml").read_text("utf-8")
    found = dict(re.findall(r'^(version|appVersion): "?([^"\s]+)"?$', chart, re.MULTILINE))
    return {
        "pyproject.toml": project["version"],
        "version in charts/rowfleet/Chart.yaml": found.get("version", "missing"),
        "appVersion in charts/rowfleet/Chart.yaml": found.get("appVersion", "missing"),
    }


def changes(root: Path, version: str) -> str | None:
    """Return the text of a version's section in the changelog; None without a dated one."""
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}$"
    found = re.search(rf"{heading}\n(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE)
    return found[1].strip() if found else None


def notes(root: Path, tag: str, registry: str, repository: str) -> str:
    """Return the release's notes, in Markdown. Raises NotReadyError."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        raise NotReadyError(f"the tag is {tag}, but a release's tag is like v0.1.0")
    version = tag.removeprefix("v")
    wrong = [
        f"the tag is {tag}, but {place} is {given}"
        for place, given in versions(root).items()
        if given != version
    ]
    text = changes(root, version)
    if text is None:
        wrong.append(f"CHANGELOG.md has no section for {version} with a date")
    if wrong or text is None:
        raise NotReadyError("\n".join(wrong))
    # GitHub's page of a release shows each line break, and no relative link leads anywhere from it.
    text = re.sub(r"\n  (?=[^\s-])", " ", text)
    text = f"{text}\n\n{INSTALL.format(registry=registry, version=version)}"
    return re.sub(RELATIVE, f"]({repository}/blob/{tag}/", text)


if __name__ == "__main__":
    try:
        if len(sys.argv) != 4:
            raise NotReadyError(USAGE)
        sys.stdout.write(notes(Path(__file__).parents[1], *sys.argv[1:]))
    except NotReadyError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)

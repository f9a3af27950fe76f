"""Images, compose.yaml, skaffold.yaml, the unit in the docs: what holds without an engine."""

from __future__ import annotations

import ast
import configparser
import fnmatch
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rowfleet.errors import InputError
from rowfleet.settings import OTHER_VARIABLES, VARIABLES, Settings

ROOT = Path(__file__).parents[3]
DOCKERFILES = ("Dockerfile.worker", "Dockerfile.submitter")
TIME_LIMIT = Settings().time_limit
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_dockerfile_gives_hadolint_no_offence(dockerfile):
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--failure-threshold", "style", ROOT / dockerfile],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_build_context_holds_what_the_dockerfiles_copy_and_nothing_else():
    copied = {name for dockerfile in DOCKERFILES for name in _copied(dockerfile)}
    assert {entry.name for entry in ROOT.iterdir() if _admits(entry.name)} == copied
    assert not _admits("worker/__pycache__/celery.cpython-313.pyc")
    assert _admits("rowfleet/recipes/invoice-refunds.yaml")


@pytest.mark.parametrize(
    ("dockerfile", "folder", "entrypoint"),
    [
        ("Dockerfile.worker", "worker", ["celery", "-A", "worker"]),
        ("Dockerfile.submitter", "submitter", ["rowfleet"]),
    ],
)
def test_image_holds_its_own_program_and_starts_it_without_a_shell(dockerfile, folder, entrypoint):
    folders = {"worker", "submitter"} & set(_copied(dockerfile))
    last_stage = _instructions(dockerfile)[-1]
    assert folders == {folder}
    assert json.loads(last_stage["ENTRYPOINT"]) == entrypoint
    assert f"VERSION={VERSION}" in (ROOT / dockerfile).read_text("utf-8")


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_image_runs_as_a_numbered_user(dockerfile):
    users = re.findall(r"^USER (.*)$", (ROOT / dockerfile).read_text("utf-8"), re.MULTILINE)
    assert users == ["10001:0"]


@pytest.mark.parametrize(("program", "other"), [("worker", "submitter"), ("submitter", "worker")])
def test_program_needs_nothing_that_only_the_other_image_holds(program, other):
    imported = {
        name.split(".")[0]
        for folder in (program, "rowfleet")
        for file in (ROOT / folder).rglob("*.py")
        for name in _imports(file)
    }
    assert "rowfleet" in imported
    assert other not in imported


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_image_takes_all_of_the_build_backend_from_the_lock(dockerfile):
    taken = re.search(r"\^\(([a-z|-]+)\)==", (ROOT / dockerfile).read_text("utf-8"))
    assert taken is not None
    assert set(taken[1].split("|")) == _with_dependencies("hatchling")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """compose.yaml as it is read where nothing is set that has a default."""
    text = json.dumps(yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8")))
    return json.loads(re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", text))


def test_compose_file_is_what_the_specification_says(compose):
    PyCompose.from_json(json.dumps(compose)).validate()
    for service in compose["services"].values():
        assert set(service.get("depends_on", ())) <= set(compose["services"])


def test_compose_confines_every_container(compose):
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_compose_publishes_flower_alone_and_to_this_machine_alone(compose):
    ports = {name: s["ports"] for name, s in compose["services"].items() if "ports" in s}
    assert ports == {"flower": ["127.0.0.1:5555:5555"]}


def test_compose_starts_nothing_without_its_passwords():
    text = (ROOT / "compose.yaml").read_text("utf-8")
    for variable in (
        "REDIS_PASSWORD",
        "POSTGRES_PASSWORD",
        "POSTGRES_OWNER_PASSWORD",
        "FLOWER_BASIC_AUTH",
    ):
        uses = re.findall(rf"\$\{{{variable}([^}}]*)\}}", text)
        assert uses
        assert all(use.startswith(":?") for use in uses), variable


def test_compose_sets_what_the_programs_know(compose):
    for service in compose["services"].values():
        names = {name for name in service.get("environment", ()) if name.startswith("ROWFLEET_")}
        assert names <= {*VARIABLES, *OTHER_VARIABLES}


def test_compose_uses_the_images_of_this_version(compose):
    images = {name: service["image"] for name, service in compose["services"].items()}
    assert images["worker"] == images["flower"] == f"rowfleet-worker:{VERSION}"
    assert images["submitter"] == f"rowfleet-submitter:{VERSION}"


def test_compose_gives_the_owner_s_password_to_the_migration_alone(compose):
    compose["services"]["postgres"].pop("environment")  # the server itself
    texts = {name: json.dumps(service) for name, service in compose["services"].items()}
    assert [name for name, text in texts.items() if "rowfleet_owner" in text] == [
        "postgres",  # whose health is looked at by that name
        "migrate",
    ]
    text = (ROOT / "compose.yaml").read_text("utf-8")
    assert text.count("POSTGRES_OWNER_PASSWORD") == 2
    for mount in compose["services"]["postgres"]["volumes"]:
        source = mount.split(":")[0]
        assert not source.startswith("./") or (ROOT / source).is_file(), source


def test_compose_gives_rows_in_flight_their_time(compose):
    grace = re.fullmatch(r"(\d+)m", compose["services"]["worker"]["stop_grace_period"])
    assert grace is not None
    assert int(grace[1]) * 60 > TIME_LIMIT


def test_systemd_unit_lets_rows_finish_and_starts_no_wrong_setting_again():
    service = _ini("Service")
    assert int(service["TimeoutStopSec"]) > TIME_LIMIT
    assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM")
    assert service["Restart"] == "always"
    assert service["RestartPreventExitStatus"] == str(InputError.exit_code)
    assert service["Environment"].split("=")[0] in OTHER_VARIABLES


def test_supervisor_program_lets_rows_finish():
    program = _ini("program:rowfleet-worker")
    assert int(program["stopwaitsecs"]) > TIME_LIMIT
    assert program["stopsignal"] == "TERM"
    assert "stopasgroup" not in program  # it would send TERM to the children of prefork, too


def test_skaffold_sets_values_that_the_chart_has():
    release = _skaffold()["deploy"]["helm"]["releases"][0]
    values = yaml.safe_load((ROOT / release["chartPath"] / "values.yaml").read_text("utf-8"))
    for key in (*release["setValues"], *release["setValueTemplates"]):
        at: Any = values
        for part in key.split("."):
            assert part in at, key
            at = at[part]


def test_skaffold_copies_files_to_where_the_dev_image_runs_them():
    worker = _skaffold()["build"]["artifacts"][0]
    stages = {stage["FROM"].split(" AS ")[-1]: stage for stage in _instructions(DOCKERFILES[0])}
    stage = stages[worker["docker"]["target"]]
    assert worker["docker"]["dockerfile"] == DOCKERFILES[0]
    for rule in worker["sync"]["manual"]:
        assert stage["ENV"] == f"PYTHONPATH={rule['dest']}"
        assert list(ROOT.glob(rule["src"])), rule


def _skaffold() -> dict[str, Any]:
    """Return skaffold.yaml with all of its profiles' patches applied."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text("utf-8"))
    for profile in config["profiles"]:
        for patch in profile["patches"]:
            *path, last = patch["path"].strip("/").split("/")
            at: Any = config
            for part in path:
                at = at[int(part)] if isinstance(at, list) else at[part]
            at[last] = patch["value"]
    return config


def _ini(section: str) -> configparser.SectionProxy:
    """Return that section of the page for hosts without containers."""
    page = (ROOT / "docs" / "how-to" / "hosts.md").read_text("utf-8")
    for block in re.findall(r"```ini\n(.*?)```", page, re.DOTALL):
        parser = configparser.ConfigParser(interpolation=None)
        # systemd's keys have capitals. This is how the module's own pages say to keep them.
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read_string(block)
        if section in parser:
            return parser[section]
    raise AssertionError(section)


def _instructions(dockerfile: str) -> list[dict[str, str]]:
    """Return each stage's instructions; of several alike, the last."""
    text = (ROOT / dockerfile).read_text("utf-8")
    text = re.sub(r"\\\n", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    stages: list[dict[str, str]] = []
    for line in text.splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stages.append({})
        if stages and name:
            stages[-1][name] = rest
    return stages


def _copied(dockerfile: str) -> list[str]:
    """Return the names that a Dockerfile copies from its build context."""
    text = (ROOT / dockerfile).read_text("utf-8")
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    return [name for copy in copies for name in copy.split()]


def _admits(path: str) -> bool:
    """Tell whether .dockerignore lets a path in: the last line that fits it decides."""
    admitted = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            folders = [path, *(str(parent) for parent in Path(path).parents)]
            names = [Path(folder).name for folder in folders]
            fits = (
                any(fnmatch.fnmatch(name, pattern.removeprefix("**/")) for name in names)
                if pattern.startswith("**/")
                else any(fnmatch.fnmatch(folder, pattern) for folder in folders)
            )
            if fits:
                admitted = line.startswith("!")
    return admitted


def _imports(file: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
    return [
        *(alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names),
        *(node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module),
    ]


def _with_dependencies(package: str) -> set[str]:
    """Return a package and all that it needs on the images' Python."""
    found, left = set(), [package]
    while left:
        name = str(canonicalize_name(left.pop()))
        if name not in found:
            found.add(name)
            needs = [Requirement(line) for line in importlib.metadata.requires(name) or ()]
            image = {"python_version": "3.13", "python_full_version": "3.13.0", "extra": ""}
            left += [n.name for n in needs if n.marker is None or n.marker.evaluate(image)]
    return found

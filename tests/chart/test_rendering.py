"""What helm makes of the chart is right from all sides that can be seen without a cluster."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rowfleet.settings import load_settings
from tests.chart import schemas
from tests.support.chart import helm
from tests.support.chart.cases import CASES, SENTINEL, Case, rendered
from tests.support.chart.helm import ADMISSION_POLICIES, KEDA, HelmError, Manifest
from tests.support.chart.manifests import (
    component,
    data,
    environment,
    of_kind,
    pods,
    references,
    selected,
    title,
)

#: Objects that belong to no namespace.
CLUSTER_WIDE = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


@pytest.mark.parametrize("version", schemas.kubernetes_versions())
def test_kubernetes_and_keda_take_every_object(manifests: list[Manifest], version: str):
    oldest = version == schemas.kubernetes_versions()[0]
    looked_at = [m for m in manifests if not (oldest and m["kind"] in CLUSTER_WIDE)]
    assert [error for m in looked_at for error in schemas.errors(m, version)] == []


def test_schemas_refuse_what_is_wrong():
    """The test above says something: a misspelt, missing or wrong field far inside is seen."""
    (worker,) = [m for m in rendered("minimal") if title(m) == "Deployment/rowfleet-worker"]
    scaler = of_kind(rendered("minimal"), "ScaledObject")[-1]
    broken = json.loads(json.dumps([worker, scaler]))
    container = broken[0]["spec"]["template"]["spec"]["containers"][0]
    container["imagePullPolice"] = "Always"
    container["env"].append({"name": "NUMBER", "value": 1})
    broken[1]["spec"]["advanced"]["scalingModifiers"]["metricType"] = "Average"
    broken[1]["spec"]["triggers"][0]["metadata"]["databaseIndex"] = 0
    del broken[1]["spec"]["fallback"]["replicas"]
    newest = schemas.kubernetes_versions()[-1]
    said = "\n".join(error for manifest in broken for error in schemas.errors(manifest, newest))
    for field in ("imagePullPolice", "env[", "metricType", "databaseIndex", "'replicas'"):
        assert field in said
    assert len(said.splitlines()) == 5


def test_no_two_objects_have_one_name(manifests: list[Manifest]):
    twice = [name for name, count in Counter(map(title, manifests)).items() if count > 1]
    assert twice == []


def test_names_and_labels_fit(manifests: list[Manifest]):
    for manifest in manifests:
        # 63 fit a Service and a label; a StatefulSet's pods carry its name and a hash in one.
        longest = {"StatefulSet": 52, **dict.fromkeys(CLUSTER_WIDE, 253)}.get(manifest["kind"], 63)
        assert len(manifest["metadata"]["name"]) <= longest, title(manifest)
    labels = [label for m in manifests for label in _labels(m)]
    assert [f"{k}={v}" for k, v in labels if len(v) > 63] == []


def _labels(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield from manifest["metadata"]["labels"].items()
    for pod in pods([manifest]):
        yield from pod.labels.items()


def test_objects_stay_in_the_release_s_namespace(manifests: list[Manifest], case: Case):
    elsewhere = [
        title(m)
        for m in manifests
        if m["metadata"].get("namespace", case.namespace) != case.namespace
    ]
    assert elsewhere == []


def test_every_object_has_the_standard_labels(manifests: list[Manifest], case: Case):
    for manifest in manifests:
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == case.release, title(manifest)
        assert labels["app.kubernetes.io/part-of"] == "rowfleet", title(manifest)
        assert labels["app.kubernetes.io/managed-by"] == "Helm", title(manifest)
        assert labels["app.kubernetes.io/name"], title(manifest)
        assert labels["app.kubernetes.io/component"], title(manifest)


def test_what_objects_refer_to_is_there(manifests: list[Manifest], case: Case):
    there = {(m["kind"], m["metadata"]["name"]) for m in manifests}
    there |= {*case.existing, *case.there}
    missing = {
        f"{title(m)} needs {kind}/{name}" for m in manifests for kind, name in references(m) - there
    }
    assert missing == set()


def test_no_configuration_is_rendered_that_nothing_reads(manifests: list[Manifest]):
    needed = set().union(*map(references, manifests))
    kinds = ("ConfigMap", "Secret", "ServiceAccount", "PersistentVolumeClaim")
    idle = {title(m) for m in of_kind(manifests, *kinds)} - {f"{k}/{n}" for k, n in needed}
    assert idle == set()


def test_with_existing_secrets_the_chart_makes_none():
    for name in ("existing secrets", "everything external with existing secrets"):
        assert of_kind(rendered(name), "Secret") == []


def test_with_tls_servers_take_nothing_else_and_only_they_have_the_key():
    manifests = rendered("TLS")
    held = data(manifests)
    configuration_of_redis = held["ConfigMap", "rowfleet-redis"]["redis.conf"].splitlines()
    assert {"port 0", "tls-port 6379"} <= set(configuration_of_redis)
    access = held["ConfigMap", "rowfleet-postgresql"]["pg_hba.conf"].splitlines()
    kinds = {line.split()[0] for line in access if line and not line.startswith("#")}
    assert kinds == {"local", "hostssl"}
    assert "ssl=on" in component(manifests, "postgresql").containers[0]["args"]
    for pod in pods(manifests):
        for volume in pod.spec.get("volumes", []):
            if volume.get("secret", {}).get("secretName") == "rowfleet-tls":
                only = [item["key"] for item in volume["secret"].get("items", [])]
                assert only == ([] if pod.component in ("redis", "postgresql") else ["ca.crt"])


def test_no_probe_of_redis_ends_a_connection_before_its_handshake_for_ever():
    (container,) = component(rendered("TLS"), "redis").containers
    # The one at the start passes once.
    for probe in ("readinessProbe", "livenessProbe"):
        said = shlex.join(container[probe]["exec"]["command"])
        assert "redis-cli --tls --cacert /etc/tls/ca.crt --user keda ping" in said, probe


def test_services_lead_to_a_pod_and_a_port_of_it(manifests: list[Manifest]):
    for service in of_kind(manifests, "Service"):
        (pod,) = [
            pod
            for pod in pods(manifests)
            if service["spec"]["selector"].items() <= pod.labels.items()
        ]
        served = {p["name"]: p["containerPort"] for c in pod.containers for p in c.get("ports", [])}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in {*served, *served.values()}, title(service)


def test_selectors_select_the_pods_of_their_own_template(manifests: list[Manifest]):
    for owner in of_kind(manifests, "Deployment", "StatefulSet"):
        taken = [p.name for p in pods(manifests) if selected(owner["spec"]["selector"], p.labels)]
        assert taken == [title(owner)]


def test_disruption_budgets_cover_each_standing_pod_and_never_block_a_drain(
    manifests: list[Manifest],
):
    budgets = of_kind(manifests, "PodDisruptionBudget")
    for owner in of_kind(manifests, "Deployment", "StatefulSet"):
        (pod,) = pods([owner])
        (spec,) = [b["spec"] for b in budgets if selected(b["spec"]["selector"], pod.labels)]
        assert "minAvailable" not in spec, pod.name
        assert str(spec["maxUnavailable"]) not in ("0", "0%"), pod.name
        assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow", pod.name
    for budget in budgets:
        assert any(selected(budget["spec"]["selector"], p.labels) for p in pods(manifests))


def test_ingress_leads_to_flower_under_its_prefix(manifests: list[Manifest], case: Case):
    values = case.values.get("flower", {})
    wanted = values.get("ingress", {})
    ingresses = of_kind(manifests, "Ingress")
    assert len(ingresses) == int(wanted.get("enabled", False))
    for ingress in ingresses:
        (rule,) = ingress["spec"]["rules"]
        (path,) = rule["http"]["paths"]
        prefix = values["urlPrefix"].strip("/")
        pod = component(manifests, "flower")
        variables = environment(pod, "flower", case.known(manifests))
        assert rule["host"] == wanted["host"]
        assert (path["path"], path["pathType"]) == (f"/{prefix}", "Prefix")
        assert variables["FLOWER_URL_PREFIX"].strip("/") == prefix
        assert ingress["spec"]["tls"] == [
            {"hosts": [wanted["host"]], "secretName": wanted["tlsSecret"]}
        ]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert pod.containers[0][probe]["httpGet"]["path"] == f"/{prefix}/healthcheck"


def test_flower_never_runs_without_authentication(manifests: list[Manifest], case: Case):
    for pod in pods(manifests):
        if pod.component == "flower":
            variables = environment(pod, "flower", case.known(manifests))
            user, _, password = variables.get("FLOWER_BASIC_AUTH", "").partition(":")
            provider = variables.get("FLOWER_AUTH_PROVIDER")
            assert (user and len(password) >= 8) or (provider and variables["FLOWER_AUTH"])


def test_no_secret_is_anywhere_but_in_secrets(manifests: list[Manifest]):
    encoded = [
        base64.b64encode(f"{pad}{SENTINEL}".encode())[4:-4].decode() for pad in ("", "a", "ab")
    ]
    for manifest in manifests:
        if manifest["kind"] != "Secret":
            text = json.dumps(manifest)
            assert SENTINEL not in text, title(manifest)
            assert not [part for part in encoded if part in text], title(manifest)
        else:
            assert SENTINEL not in json.dumps(manifest["metadata"]), title(manifest)


def test_notes_give_commands_for_this_release_and_no_secret(case: Case, tmp_path: Path):
    notes = _notes(case, tmp_path)
    assert SENTINEL not in notes
    assert "<no value>" not in notes
    assert "%!" not in notes
    commands = [line.strip() for line in notes.splitlines() if line.startswith("   ")]
    assert len([c for c in commands if c.startswith(("kubectl ", "rowfleet "))]) >= 2
    for command in commands:
        if command.startswith(("kubectl ", "rowfleet ")):
            assert f"--namespace {case.namespace}" in command
    if case.values.get("flower", {}).get("enabled", True):
        assert any("flower" in command for command in commands)


def _notes(case: Case, folder: Path) -> str:
    """Return NOTES.txt as an install prints it: helm shows it to clusters only, so a copy of the
    chart renders it into an object.
    """
    chart = folder / "rowfleet"
    shutil.copytree(helm.CHART, chart)
    (chart / "templates" / "notes.yaml").write_text(
        'kind: Notes\ntext: {{ include (print $.Template.BasePath "/NOTES.txt") . | quote }}\n'
    )
    manifests = helm.template(
        case.values,
        api_versions=case.api_versions,
        release=case.release,
        namespace=case.namespace,
        chart=chart,
    )
    return str(of_kind(manifests, "Notes")[0]["text"])


def test_settings_take_the_environment_of_each_of_our_containers(
    manifests: list[Manifest], case: Case
):
    ours = 0
    for pod in pods(manifests):
        for container in pod.containers:
            variables = environment(pod, container["name"], case.known(manifests))
            if "REDIS_URL" in variables:
                loaded = load_settings(variables)
                ours += 1
                assert loaded.broker_url(), pod.name
                if pod.component != "flower":
                    assert loaded.database_url, pod.name
                if pod.component in ("worker", "submitter"):  # of these, for --tier batch
                    assert loaded.openai_api_key, pod.name
                    assert loaded.default_analyzer() == "openai"
                else:
                    assert not loaded.openai_api_key, f"{pod.name} has no use for the key"
    assert ours >= 3


def test_programs_of_one_release_agree_on_the_broker_and_the_ledger(
    manifests: list[Manifest], case: Case
):
    same = ("queue", "key_prefix", "visibility_timeout")
    seen = set()
    for pod in pods(manifests):
        for container in pod.containers:
            variables = environment(pod, container["name"], case.known(manifests))
            if "REDIS_URL" in variables and pod.component != "migration":
                loaded = load_settings(variables)
                url = urlsplit(loaded.broker_url() or "")
                where = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
                seen.add((where, *(str(getattr(loaded, field)) for field in same)))
    assert len(seen) == 1


def test_the_release_s_own_broker_and_ledger_take_the_password_that_the_programs_give(
    manifests: list[Manifest], case: Case
):
    known = case.known(manifests)
    there = {pod.component for pod in pods(manifests)}
    for program in ("worker", "submitter", "flower", "test"):
        for server, server_s, program_s in (
            ("redis", f"{_user(program).upper()}_PASSWORD", "REDIS_PASSWORD"),
            ("postgresql", "LEDGER_PASSWORD", "PGPASSWORD"),
        ):
            if not {program, server} <= there or (program, server) == ("flower", "postgresql"):
                continue
            pod = next(p for p in pods(manifests) if p.component == program)
            variables = environment(pod, pod.containers[0]["name"], known)
            served = environment(component(manifests, server), server, known)
            assert variables[program_s], program
            assert variables[program_s] == served[server_s], program
            if server == "redis":
                assert urlsplit(variables["REDIS_URL"]).username == _user(program)


def _user(program: str) -> str:
    return "submitter" if program == "test" else program


def test_users_of_the_broker_have_passwords_of_their_own(manifests: list[Manifest], case: Case):
    known = case.known(manifests)
    for pod in pods(manifests):
        if pod.component == "redis":
            served = environment(pod, "redis", known)
            assert len(served) == len(set(served.values())) == 4


def test_owner_of_the_tables_is_known_to_the_migration_alone(manifests: list[Manifest], case: Case):
    known = case.known(manifests)
    own = case.values.get("postgresql", {}).get("enabled", True)
    secret = "PGPASSWORD" if own else "DATABASE_URL"
    user_s = environment(component(manifests, "worker"), "worker", known)[secret]
    for pod in pods(manifests):
        if pod.component == "migration":
            variables = environment(pod, "submitter", known)
            assert "REDIS_PASSWORD" not in variables
            two_roles = own or "ownerSecret" in case.values["externalDatabase"]
            assert (variables[secret] != user_s) == two_roles
            if own:
                assert "://rowfleet_owner@" in variables["DATABASE_URL"]
                server = environment(component(manifests, "postgresql"), "postgresql", known)
                assert server["LEDGER_OWNER_PASSWORD"] == variables[secret]
        elif pod.component != "postgresql":
            assert "owner" not in json.dumps(pod.spec), pod.name


def test_passwords_given_are_the_ones_that_are_kept():
    manifests = rendered("everything on")
    values = CASES["everything on"].values
    known = CASES["everything on"].known(manifests)
    worker = environment(component(manifests, "worker"), "worker", known)
    flower = environment(component(manifests, "flower"), "flower", known)
    submitter = environment(component(manifests, "submitter"), "submitter", known)
    assert submitter["REDIS_PASSWORD"] == values["redis"]["password"]
    assert worker["PGPASSWORD"] == values["postgresql"]["password"]
    assert worker["OPENAI_API_KEY"] == values["openai"]["apiKey"]
    assert flower["FLOWER_BASIC_AUTH"] == "auditor:" + values["flower"]["password"]


def test_submitters_try_as_often_as_workers_do(manifests: list[Manifest], case: Case):
    known = case.known(manifests)
    worker, submitter = (
        load_settings(environment(component(manifests, name), name, known))
        for name in ("worker", "submitter")
    )
    assert submitter.max_retries == worker.max_retries
    assert submitter.retry_delay == worker.retry_delay


def test_recipes_reach_submitters_as_they_were_given():
    manifests = rendered("everything on")
    given = CASES["everything on"].values["recipes"]["files"]
    held = data(manifests)["ConfigMap", "rowfleet-recipes"]
    assert {name.removesuffix(".yaml"): text for name, text in held.items()} == given
    pod = component(manifests, "submitter")
    (mount,) = [m for m in pod.containers[0]["volumeMounts"] if m["name"] == "recipes"]
    assert mount["mountPath"] == "/etc/rowfleet/recipes"


def test_what_the_values_add_to_a_pod_is_in_it():
    manifests, values = rendered("everything on"), CASES["everything on"].values
    for name in ("redis", "postgresql", "worker", "submitter", "flower"):
        pod, wanted = component(manifests, name), values[name]
        for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
            assert pod.spec[field] == wanted[field], (name, field)
        annotations = pod.metadata["annotations"]
        assert wanted["podAnnotations"].items() <= annotations.items(), name
        assert wanted.get("podLabels", {}).items() <= pod.labels.items(), name
        container = pod.container(name)
        for variable in wanted.get("extraEnv", []):
            assert variable in container["env"], name
        for source in wanted.get("extraEnvFrom", []):
            assert source in container["envFrom"], name
    worker = component(manifests, "worker")
    for constraint in worker.spec["topologySpreadConstraints"][:1]:
        assert selected(constraint["labelSelector"], worker.labels)
    assert worker.spec["topologySpreadConstraints"][1]["labelSelector"] == {
        "matchLabels": {"mine": "yes"}
    }
    assert values["worker"]["extraVolumes"][0] in worker.spec["volumes"]
    assert values["worker"]["extraVolumeMounts"][0] in worker.containers[0]["volumeMounts"]


def test_images_are_of_the_registry_and_tag_given():
    worker = component(rendered("everything on"), "worker").containers[0]
    submitter = component(rendered("everything on"), "submitter").containers[0]
    assert worker["image"] == "registry.example.com/fleet/worker:sha-1"
    assert submitter["image"] == "registry.example.com/fleet/rowfleet-submitter:0.1.0-rc.1"
    minimal = component(rendered("minimal"), "worker").containers[0]
    assert minimal["image"] == f"rowfleet-worker:{helm.about()['appVersion']}"


def test_volumes_are_claimed_unless_persistence_is_off():
    claims = {
        title(m): [t["metadata"]["name"] for t in m["spec"].get("volumeClaimTemplates", [])]
        for name in ("minimal", "no volumes")
        for m in of_kind(rendered(name), "StatefulSet")
        if name == "minimal" or m["spec"].get("volumeClaimTemplates")
    }
    assert claims == {
        "StatefulSet/rowfleet-redis": ["data"],
        "StatefulSet/rowfleet-postgresql": ["data"],
    }


def test_each_thing_that_is_off_is_not_there():
    manifests = rendered("only what must be")
    assert of_kind(manifests, "Role", "RoleBinding", "NetworkPolicy", "Ingress", "Job") == []
    assert of_kind(manifests, *CLUSTER_WIDE) == []
    assert not [title(m) for m in manifests if "flower" in title(m)]
    external = rendered("everything external")
    assert of_kind(external, "StatefulSet", "PersistentVolumeClaim") == []


def test_worker_s_rights_are_to_patch_pods_of_its_namespace_and_its_own_by_policy():
    manifests = rendered("minimal")
    (role,) = of_kind(manifests, "Role")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]
    assert of_kind(manifests, "ClusterRole", "ClusterRoleBinding") == []
    (policy,) = of_kind(manifests, "ValidatingAdmissionPolicy")
    (binding,) = of_kind(manifests, "ValidatingAdmissionPolicyBinding")
    assert binding["spec"]["validationActions"] == ["Deny"]
    assert policy["spec"]["failurePolicy"] == "Fail"
    account = component(manifests, "worker").spec["serviceAccountName"]
    assert f"system:serviceaccount:audit:{account}'" in json.dumps(
        policy["spec"]["matchConditions"]
    )


@pytest.mark.parametrize(
    ("values", "api_versions"),
    [({}, KEDA), ({"admissionPolicy": False}, (*KEDA, *ADMISSION_POLICIES))],
    ids=["where policies are not served", "where the policy is not wanted"],
)
def test_without_the_policy_workers_have_no_right_and_do_not_try(
    values: dict[str, bool], api_versions: tuple[str, ...]
):
    manifests = helm.template(
        {"openai": {"existingSecret": "openai"}, "worker": {"podDeletionCost": values}},
        api_versions=api_versions,
    )
    assert of_kind(manifests, "Role", "RoleBinding", *CLUSTER_WIDE) == []
    worker = component(manifests, "worker")
    assert worker.spec["automountServiceAccountToken"] is False
    names = {variable["name"] for variable in worker.container("worker")["env"]}
    assert not names & {"ROWFLEET_POD_NAME", "ROWFLEET_POD_NAMESPACE"}


def test_without_keda_the_install_fails_with_one_sentence_saying_how_to_get_it():
    with pytest.raises(HelmError) as caught:
        helm.template({"openai": {"existingSecret": "openai"}}, api_versions=ADMISSION_POLICIES)
    sentence = str(caught.value).splitlines()[0]  # helm adds a hint of its own below
    assert "KEDA is not in this cluster" in sentence
    assert "helm install keda" in sentence
    assert "autoscaling.enabled=false" in sentence

"""The Job that `rowfleet launch` makes: by the same policies as the manifest applied by hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from rowfleet.errors import InputError
from submitter.cluster import manifest, sheet_location

ROOT = Path(__file__).parents[4]

#: The first Kubernetes whose pod failure policy is no beta, and the newest.
KUBERNETES = ("1.31", "1.37")

TEMPLATE: dict[str, Any] = {
    "metadata": {
        "name": "rowfleet-submitter",
        "labels": {
            "app.kubernetes.io/name": "rowfleet",
            "app.kubernetes.io/instance": "rowfleet",
            "app.kubernetes.io/component": "submitter",
            "app.kubernetes.io/managed-by": "Helm",
            "helm.sh/chart": "rowfleet-0.1.0",
        },
    },
    "template": {
        "metadata": {"labels": {"app.kubernetes.io/component": "submitter"}},
        "spec": {
            "securityContext": {"runAsUser": 10001, "runAsNonRoot": True},
            "containers": [
                {
                    "name": "submitter",
                    "image": "rowfleet-submitter:0.1.0",
                    "envFrom": [{"configMapRef": {"name": "rowfleet-env"}}],
                    "volumeMounts": [
                        {"name": "recipes", "mountPath": "/etc/rowfleet/recipes"},
                        {"name": "tmp", "mountPath": "/tmp"},
                    ],
                }
            ],
            "volumes": [
                {"name": "recipes", "configMap": {"name": "rowfleet-recipes", "optional": True}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    },
}


def job(
    excel: str = "pvc://sheets/a.xlsx",
    export: str | None = None,
    *,
    template: dict[str, Any] = TEMPLATE,
    **options: Any,
) -> dict[str, Any]:
    source = sheet_location.locate("--excel", excel)
    target = sheet_location.locate("--export", export) if export else None
    recipe = options.get("recipe")
    made = {"args": manifest.arguments(source, target, recipe=recipe), **options}
    return manifest.job(
        template,
        name="rowfleet-a",
        namespace="ns",
        digest="0",
        excel=source,
        export=target,
        **made,
    )


def pod(job: dict[str, Any]) -> dict[str, Any]:
    spec = job["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def test_failures_mean_the_same_as_in_the_manifest_applied_by_hand() -> None:
    by_hand = yaml.safe_load((ROOT / "k8s/submit-job.yaml").read_text("utf-8"))
    mine = job()
    for what in (by_hand, mine):
        del what["spec"]["template"]["metadata"]
    others = ("restartPolicy", "terminationGracePeriodSeconds")
    assert {k: pod(mine)[k] for k in others} == {k: pod(by_hand)[k] for k in others}
    assert {**mine["spec"], "template": None} == {**by_hand["spec"], "template": None}


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_the_job_and_its_recipe(version: str) -> None:
    recipe = manifest.JobRecipe(manifest.OWN_RECIPE, "name: x\n")
    made = job("pvc://in/a.xlsx", "pvc://out/b.xlsx", recipe=recipe, service_account="me")
    kubernetes_validate.validate(made, version, strict=True)
    kubernetes_validate.validate(manifest.recipe_map(made, "name: x\n"), version, strict=True)


def test_the_job_is_told_what_the_batch_may_cost_and_what_to_try_first() -> None:
    source = sheet_location.locate("--excel", "s3://in/a.xlsx")
    told = manifest.arguments(
        source, None, options={"--max-cost": 2.5, "--sample": 100, "--dedupe": True}
    )
    assert told[2:] == ["--wait", "--max-cost=2.5", "--sample=100", "--dedupe"]


def test_the_template_stays_as_it_is_and_its_pod_is_kept() -> None:
    before = copy.deepcopy(TEMPLATE)
    made = job(env_from_secrets=["keys"])
    assert before == TEMPLATE
    (container,) = pod(made)["containers"]
    assert container["image"] == "rowfleet-submitter:0.1.0"
    assert container["envFrom"] == [
        {"configMapRef": {"name": "rowfleet-env"}},
        {"secretRef": {"name": "keys"}},
    ]
    assert made["metadata"]["labels"] == {
        "app.kubernetes.io/name": "rowfleet",
        "app.kubernetes.io/instance": "rowfleet",
        "app.kubernetes.io/component": "submitter",
        "app.kubernetes.io/managed-by": "rowfleet-launch",
    }


def test_arguments_are_those_of_submit() -> None:
    from submitter.cli.commands.submit import submit

    given = manifest.arguments(
        sheet_location.locate("--excel", "pvc://sheets/2026/a b.xlsx"),
        sheet_location.locate("--export", "s3://bucket/b.xlsx"),
        recipe=manifest.JobRecipe(manifest.CHART_RECIPES / "mine.yaml"),
        options={
            "--sheet": "-first",
            "--start-row": 100,
            "--num-rows": 10,
            "--model": "gpt-5",
            "--analyzer": "openai",
            "--batch-id": "x",
        },
    )
    command, *options = given
    assert command == "submit"
    said = submit.make_context("submit", list(options)).params
    assert str(said["source"]) == "/sheets/sheets/2026/a b.xlsx"
    assert said["wait"]
    assert (said["sheet"], said["start_row"], said["num_rows"]) == ("-first", 100, 10)
    assert str(said["recipe_file"]) == "/etc/rowfleet/recipes/mine.yaml"


def test_kubernetes_fills_no_secret_into_an_argument() -> None:
    made = job(args=["submit", "--sheet=$(REDIS_PASSWORD)"])
    assert pod(made)["containers"][0]["args"][1] == "--sheet=$$(REDIS_PASSWORD)"


def test_a_claim_is_mounted_once_and_for_reading_only_where_nothing_is_written() -> None:
    def mounts(made: dict[str, Any]) -> dict[str, bool]:
        mounted = pod(made)["containers"][0]["volumeMounts"]
        return {
            m["mountPath"]: m.get("readOnly", False)
            for m in mounted
            if m["mountPath"].startswith("/sheets")
        }

    assert mounts(job("pvc://in/a.xlsx")) == {"/sheets/in": True}
    assert mounts(job("pvc://in/a.xlsx", "pvc://in/b.xlsx")) == {"/sheets/in": False}
    both = mounts(job("pvc://in/a.xlsx", "pvc://out/b.xlsx"))
    assert both == {"/sheets/in": True, "/sheets/out": False}
    assert mounts(job("s3://in/a.xlsx")) == {}


def test_a_volume_is_the_pods_own_group_unless_the_chart_or_the_cluster_says_which() -> None:
    assert pod(job())["securityContext"]["fsGroup"] == 10001
    for security in ({"runAsUser": 1, "fsGroup": 7}, {"runAsNonRoot": True}):
        template = copy.deepcopy(TEMPLATE)
        template["template"]["spec"]["securityContext"] = security
        assert pod(job(template=template))["securityContext"] == security
    assert "fsGroup" not in pod(job("s3://b/a.xlsx"))["securityContext"]


def test_azures_workload_identity_gets_its_label() -> None:
    label = "azure.workload.identity/use"
    with_account = job("az://c/a.xlsx", service_account="me")
    assert with_account["spec"]["template"]["metadata"]["labels"][label] == "true"
    assert pod(with_account)["serviceAccountName"] == "me"
    without = job("az://c/a.xlsx")["spec"]["template"]["metadata"]["labels"]
    assert label not in without


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("invoices.xlsx", "the pod does not see files of this machine"),
        ("/data/invoices.xlsx", "the pod does not see files of this machine"),
        ("ftp://host/a.xlsx", "is none of pvc://, s3://, gs://, az://, https://"),
        ("http://host/a.xlsx", "is none of"),
        ("pvc://claim", "write pvc://CLAIM/PATH"),
        ("pvc://claim/", "write pvc://CLAIM/PATH"),
        ("pvc:///a.xlsx", "write pvc://CLAIM/PATH"),
        ("pvc://claim//etc/a.xlsx", "write pvc://CLAIM/PATH"),
        ("pvc://claim/../a.xlsx", "write pvc://CLAIM/PATH"),
        ("pvc://Claim_1/a.xlsx", "write pvc://CLAIM/PATH"),
        ("https://host/a.xlsx?X-Signature=hunter2", "is a secret"),
        ("https://me:hunter2@host/a.xlsx", "is a secret"),
        ("https://[hunter2/a.xlsx", "is not a URL"),
    ],
)
def test_a_place_the_pod_can_not_reach_or_must_not_be_told_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=r"^--excel ") as caught:
        sheet_location.locate("--excel", text)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("Master_Refunds", "rowfleet-master-refunds-0123456789ab"),
        ("Ü 2026", "rowfleet-2026-0123456789ab"),
        ("…", "rowfleet-sheet-0123456789ab"),
        ("x" * 36 + "-y", f"rowfleet-{'x' * 36}-0123456789ab"),
    ],
)
def test_a_job_is_named_after_its_sheet(stem: str, name: str) -> None:
    assert manifest.job_name(stem, "0123456789ab") == name
    assert manifest.check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a.b", "a" * 64])
def test_a_name_that_no_job_can_have_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="--name"):
        manifest.check_name(name)


def test_equal_commands_are_one_job_and_others_another() -> None:
    one = manifest.command_hash(["submit"], "text", "rowfleet", None, [])
    assert one == manifest.command_hash(["submit"], "text", "rowfleet", None, [])
    assert one != manifest.command_hash(["submit"], "other", "rowfleet", None, [])


def test_the_recipe_goes_with_its_job() -> None:
    made = job(recipe=manifest.JobRecipe(manifest.OWN_RECIPE, "name: x\n"))
    (owner,) = manifest.recipe_map({**made, "metadata": {**made["metadata"], "uid": "u"}}, "x")[
        "metadata"
    ]["ownerReferences"]
    assert owner == {"apiVersion": "batch/v1", "kind": "Job", "name": "rowfleet-a", "uid": "u"}
    assert {"name": "launch-recipe", "configMap": {"name": "rowfleet-a"}} in pod(made)["volumes"]
    assert pod(made)["containers"][0]["args"][-1] == "--recipe=/etc/rowfleet/launch/recipe.yaml"
    assert manifest.chart_recipes(TEMPLATE) == "rowfleet-recipes"


def test_a_template_of_something_else_is_named() -> None:
    template = copy.deepcopy(TEMPLATE)
    template["template"]["spec"]["containers"][0]["name"] = "main"
    with pytest.raises(InputError, match="rowfleet-submitter has no container called submitter"):
        job(template=template)

"""Ways to install the chart, each by its values: what the tests look at from all sides."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from tests.support.chart import helm
from tests.support.chart.helm import ADMISSION_POLICIES, KEDA, Manifest, Values
from tests.support.chart.manifests import Reference, data

#: In every secret that a case gives, and in nothing else.
SENTINEL = "s3ntinel"

OPENAI_SECRET: dict[Reference, dict[str, str]] = {
    ("Secret", "openai"): {"OPENAI_API_KEY": f"sk-{SENTINEL}"}
}


@dataclass(frozen=True)
class Case:
    """A set of values, and the cluster it is for."""

    values: Values
    #: ConfigMaps and Secrets that the user made, with what is in them.
    existing: Mapping[Reference, Mapping[str, str]] = field(default_factory=dict)
    #: What else is there already: names only.
    there: frozenset[Reference] = frozenset()
    api_versions: Sequence[str] = (*KEDA, *ADMISSION_POLICIES)
    release: str = "rowfleet"
    namespace: str = "audit"

    def render(self) -> list[Manifest]:
        """Return what helm makes of it."""
        return helm.template(
            self.values,
            api_versions=self.api_versions,
            release=self.release,
            namespace=self.namespace,
        )

    def known(self, manifests: list[Manifest]) -> dict[Reference, Mapping[str, str]]:
        """Return what every ConfigMap and Secret holds, the chart's and the user's."""
        return {**data(manifests), **self.existing}


def _placement(node: str) -> Values:
    return {
        "nodeSelector": {"pool": node},
        "tolerations": [{"key": "pool", "operator": "Equal", "value": node}],
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "preference": {
                            "matchExpressions": [
                                {"key": "zone", "operator": "In", "values": ["a", "b"]}
                            ]
                        },
                    }
                ]
            }
        },
        "priorityClassName": "batch",
        "podAnnotations": {"example.com/team": "audit", "example.com/on": "true"},
    }


EVERYTHING: Values = {
    "image": {
        "registry": "registry.example.com/fleet",
        "tag": "0.1.0-rc.1",
        "pullPolicy": "Always",
        "pullSecrets": ["registry"],
    },
    "openai": {
        "apiKey": f"sk-{SENTINEL}-openai",
        "baseUrl": "http://vllm.models.svc:8000/v1",
        "model": "gpt-5",
        "requestsPerMinute": 30_000,
        "tokensPerMinute": 150_000_000,
    },
    "recipes": {
        "files": {
            "refunds": "columns: [Invoice]\nprompt: |\n  Is {{ Invoice }} a refund?\n\n  Say so.\n",
            "duplicates": "# 'quoted' \"twice\"\nprompt: a: b\n",
        }
    },
    "redis": {
        "password": f'{SENTINEL} "redis" \\ $(HOME) %',
        "maxmemory": "1gb",
        "persistence": {"size": "20Gi", "storageClass": "fast"},
        **_placement("redis"),
    },
    "postgresql": {
        "password": f"{SENTINEL}'postgres'@/:",
        "owner": {"password": f"{SENTINEL}'owner'"},
        "persistence": {"size": "100Gi", "storageClass": "fast"},
        **_placement("postgresql"),
    },
    "worker": {
        "image": {"repository": "worker", "tag": "sha-1"},
        "slots": 200,
        "queue": "refunds.2026:a",
        "window": 1_000_000,
        "visibilityTimeout": 3600,
        "maxRetries": 0,
        "retryDelay": 0.5,
        "softTimeLimit": 86_000,
        "timeLimit": 86_400,
        "shutdownMargin": 5,
        "logLevel": "DEBUG",
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
            },
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"mine": "yes"}},
            },
        ],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}],
        "extraEnvFrom": [{"configMapRef": {"name": "more", "optional": True}}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
        "podLabels": {"example.com/cost-centre": "42"},
        "maxUnavailable": "25%",
        **_placement("worker"),
    },
    "autoscaling": {
        "minReplicas": 1,
        "idleReplicas": 0,
        "maxReplicas": 1000,
        "target": 150,
        "annotations": {"autoscaling.keda.sh/paused-replicas": "3"},
    },
    "submitter": {
        "serviceAccountName": "bucket-reader",
        "extraEnv": [{"name": "AWS_REGION", "value": "eu-central-1"}],
        "extraEnvFrom": [{"secretRef": {"name": "bucket"}}],
        "podLabels": {"azure.workload.identity/use": "true"},
        **_placement("submitter"),
    },
    "flower": {
        "username": "auditor",
        "password": f"{SENTINEL}:flower",
        "urlPrefix": "/tools/flower/",
        "readOnly": True,
        "maxTasks": 2_000_000,
        "persistence": {"enabled": True, "storageClass": "fast"},
        "service": {"port": 8080},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "host": "fleet.example.com",
            "tlsSecret": "fleet-tls",
            "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"},
        },
        "extraEnv": [{"name": "FLOWER_NATURAL_TIME", "value": "false"}],
        **_placement("flower"),
    },
    "networkPolicy": {
        "kedaNamespace": "keda-system",
        "flowerFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress-nginx"}}}],
    },
}

EXTERNAL: Values = {
    "redis": {"enabled": False},
    "externalRedis": {
        "url": "rediss://fleet@redis.example.com:6380/2",
        "password": f"{SENTINEL}/redis@:",
        "keyPrefix": "audit:",
        "caSecret": "redis-ca",
    },
    "postgresql": {"enabled": False},
    "externalDatabase": {"url": f"postgresql://fleet:{SENTINEL}@db.example.com/fleet"},
}

CASES: dict[str, Case] = {
    "minimal": Case({"openai": {"existingSecret": "openai"}}, OPENAI_SECRET),
    "everything on": Case(
        EVERYTHING,
        {
            ("Secret", "bucket"): {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": SENTINEL},
            ("ConfigMap", "more"): {"HTTP_PROXY": "http://proxy.example.com:3128"},
        },
        frozenset(
            {
                ("Secret", "registry"),
                ("Secret", "fleet-tls"),
                ("ConfigMap", "ca"),
                ("ServiceAccount", "bucket-reader"),
            }
        ),
    ),
    "everything external": Case(
        {"openai": {"apiKey": f"sk-{SENTINEL}"}, **EXTERNAL},
        there=frozenset({("Secret", "redis-ca")}),
    ),
    "external Redis without a password": Case(
        {
            "openai": {"existingSecret": "openai"},
            "redis": {"enabled": False},
            "externalRedis": {"url": "redis://10.0.0.7"},
        },
        OPENAI_SECRET,
    ),
    "existing secrets": Case(
        {
            "openai": {"existingSecret": "mine", "existingSecretKey": "key"},
            "redis": {
                "existingSecret": "mine",
                "existingSecretKey": "redis",
                "users": {"existingSecret": "mine"},
            },
            "postgresql": {
                "existingSecret": "mine",
                "existingSecretKey": "postgres",
                "owner": {"existingSecret": "mine", "existingSecretKey": "owner"},
            },
            "flower": {"existingSecret": "mine", "existingSecretKey": "flower"},
            "recipes": {"existingConfigMap": "my-recipes"},
        },
        {
            ("Secret", "mine"): {
                "key": f"sk-{SENTINEL}",
                "redis": SENTINEL,
                "postgres": SENTINEL,
                "owner": f"{SENTINEL} too",
                "worker-password": f"{SENTINEL}-worker",
                "flower-password": f"{SENTINEL}-flower",
                "keda-password": f"{SENTINEL}-keda",
                "flower": f"user:{SENTINEL}",
            }
        },
        frozenset({("ConfigMap", "my-recipes")}),
    ),
    "everything external with existing secrets": Case(
        {
            **EXTERNAL,
            "openai": {"existingSecret": "mine", "existingSecretKey": "key"},
            "externalRedis": {
                "url": "rediss://fleet@redis.example.com:6380/2",
                "existingSecret": "mine",
                "existingSecretKey": "redis",
                "keyPrefix": "audit:",
            },
            "externalDatabase": {
                "existingSecret": "mine",
                "existingSecretKey": "url",
                "ownerSecret": "mine",
                "ownerSecretKey": "owner-url",
            },
            "flower": {"existingSecret": "mine", "existingSecretKey": "flower"},
        },
        {
            ("Secret", "mine"): {
                "key": f"sk-{SENTINEL}",
                "redis": SENTINEL,
                "url": f"postgresql://fleet:{SENTINEL}@db.example.com/fleet",
                "owner-url": f"postgresql://owner:{SENTINEL}@db.example.com/fleet",
                "flower": f"user:{SENTINEL}",
            }
        },
    ),
    "TLS": Case({"openai": {"existingSecret": "openai"}, "tls": {"enabled": True}}, OPENAI_SECRET),
    "TLS with a Secret that exists, for Redis alone": Case(
        {
            "openai": {"existingSecret": "openai"},
            "tls": {"enabled": True, "existingSecret": "servers"},
            "postgresql": {"enabled": False},
            "externalDatabase": {"url": f"postgresql://fleet:{SENTINEL}@db.example.com/fleet"},
        },
        OPENAI_SECRET,
        frozenset({("Secret", "servers")}),
    ),
    "no volumes": Case(
        {
            "openai": {"existingSecret": "openai"},
            "redis": {"persistence": {"enabled": False}},
            "postgresql": {"persistence": {"enabled": False}},
        },
        OPENAI_SECRET,
    ),
    "no KEDA": Case(
        {
            "openai": {"existingSecret": "openai"},
            "autoscaling": {"enabled": False},
            "worker": {"replicas": 5},
        },
        OPENAI_SECRET,
        api_versions=ADMISSION_POLICIES,
    ),
    "no admission policies": Case(
        {"openai": {"existingSecret": "openai"}}, OPENAI_SECRET, api_versions=KEDA
    ),
    "prefork": Case(
        {
            "openai": {"existingSecret": "openai"},
            "worker": {"pool": "prefork", "slots": 10, "softTimeLimit": 50, "timeLimit": 60.5},
        },
        OPENAI_SECRET,
    ),
    "Flower under a prefix": Case(
        {
            "openai": {"existingSecret": "openai"},
            "flower": {
                "urlPrefix": "flower",
                "ingress": {"enabled": True, "host": "fleet.example.com", "tlsSecret": "tls"},
            },
        },
        OPENAI_SECRET,
        frozenset({("Secret", "tls")}),
    ),
    "Flower with OAuth": Case(
        {
            "openai": {"existingSecret": "openai"},
            "flower": {
                "oauth": {
                    "provider": "flower.views.auth.GithubLoginHandler",
                    "emails": r".*@example\.com",
                    "redirectUri": "https://fleet.example.com/login",
                    "existingSecret": "oauth",
                }
            },
        },
        {
            **OPENAI_SECRET,
            ("Secret", "oauth"): {"FLOWER_OAUTH2_KEY": "a", "FLOWER_OAUTH2_SECRET": SENTINEL},
        },
    ),
    "only what must be": Case(
        {
            "openai": {"existingSecret": "openai"},
            "worker": {"podDeletionCost": {"enabled": False}},
            "submitter": {"migrate": False},
            "flower": {"enabled": False},
            "networkPolicy": {"enabled": False},
        },
        OPENAI_SECRET,
    ),
    "another release name": Case(
        {"openai": {"apiKey": f"sk-{SENTINEL}"}},
        release="a-release-name-as-long-as-helm-lets-it-be-53-letters",
        namespace="another",
    ),
    "other names": Case(
        {
            "openai": {"apiKey": f"sk-{SENTINEL}"},
            "nameOverride": "fleet",
            "fullnameOverride": "audit-fleet",
        },
        release="one",
    ),
    "values-prod.yaml": Case(
        yaml.safe_load((helm.CHART / "values-prod.yaml").read_text("utf-8")),
        {
            ("Secret", "rowfleet-openai"): {"OPENAI_API_KEY": f"sk-{SENTINEL}"},
            ("Secret", "rowfleet-broker"): {"redis-password": SENTINEL},
            ("Secret", "rowfleet-ledger"): {
                "DATABASE_URL": f"postgresql://fleet:{SENTINEL}@db.example.com/fleet"
            },
            ("Secret", "rowfleet-flower-account"): {"FLOWER_BASIC_AUTH": f"user:{SENTINEL}"},
        },
        frozenset({("Secret", "rowfleet-example-com-tls"), ("ServiceAccount", "rowfleet-sheets")}),
    ),
}


@functools.cache
def rendered(name: str) -> list[Manifest]:
    """Return what helm makes of a case; look only, for it is made once for all tests."""
    return CASES[name].render()

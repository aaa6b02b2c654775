"""The files of the target are valid by the schemas of Kubernetes and Compose, and contain every value as data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import check_jsonschema
import kubernetes_validate
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from portalis.contracts.output import Artifacts
from portalis.deploy import deployment_target as target
from portalis.deploy.compose import escape_interpolation
from portalis.deploy.kubernetes import escape_expansion
from portalis.nim.service.drain import SHUTDOWN_S
from portalis.output import OutputTree
from portalis.spec.container import CACHE_FOLDER, MODEL_STORE, ContainerConfiguration, VolumeMount
from portalis.spec.package_spec import WasmBinaryPath
from portalis.spec.triton import InstanceGroup, InstanceKind, TritonConfiguration
from portalis.target import Job, Target
from tests.parts import ROOT
from tests.proto.jobs import job, of, wasm

KUBERNETES = "1.34"
COMPOSE = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
VALUES = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(
    [
        "$",
        "$$",
        "$(HOME)",
        "${HOME}",
        "${HOME:-x}",
        "$HOME",
        "$$(A)",
        "{{ .Values.x }}",
        'a"b',
        "it's",
        "a\nb",
        "yes",
        "1e3",
        "- x: y",
    ]
)


@pytest.fixture(scope="module")
def add(tmp_path_factory: pytest.TempPathFactory) -> WasmBinaryPath:
    return WasmBinaryPath(path=wasm(tmp_path_factory.mktemp("modules")))


def texts(tree: OutputTree) -> dict[str, str]:
    return {str(entry.path): entry.content.decode() for entry in tree if isinstance(entry.content, bytes)}


def objects(tree: OutputTree) -> Iterator[dict[str, Any]]:
    for path, text in texts(tree).items():
        if path.startswith("deployment/kubernetes/"):
            yield from yaml.safe_load_all(text)


def compose(tree: OutputTree) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(texts(tree)["deployment/compose.yaml"])
    return found


def validate(tree: OutputTree) -> None:
    found = list(objects(tree))
    assert found
    for each in found:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    Draft202012Validator(json.loads(COMPOSE.read_text())).validate(compose(tree))


def deployment(work: Job, name: str) -> dict[str, Any]:
    (found,) = [
        each
        for each in objects(target.generate(work).tree)
        if (each["kind"], each["metadata"]["name"]) == ("Deployment", name)
    ]
    return found


def pod(work: Job, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod, and its one container."""
    spec = deployment(work, name)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


def with_config(add: WasmBinaryPath, **config: Any) -> Job:
    return job([add], container_config=ContainerConfiguration(**config))


def test_the_module_is_a_target() -> None:
    found: Target = target  # mypy checks this too
    assert callable(found.generate)


def test_each_image_and_the_model_repository_have_objects_and_a_compose_service(
    add: WasmBinaryPath, tmp_path: Path
) -> None:
    work = job([add, WasmBinaryPath(path=wasm(tmp_path, "image_ops"))])
    made = target.generate(work)
    validate(made.tree)
    assert set(texts(made.tree)) == {
        "deployment/compose.yaml",
        "deployment/kubernetes/demo-add.yaml",
        "deployment/kubernetes/demo-image-ops.yaml",
        "deployment/kubernetes/demo-triton.yaml",
    }
    kinds = [(each["kind"], each["metadata"]["name"]) for each in objects(made.tree)]
    assert kinds == [
        ("Deployment", "demo-add"),
        ("Service", "demo-add"),
        ("Deployment", "demo-image-ops"),
        ("Service", "demo-image-ops"),
        ("PersistentVolumeClaim", "demo-triton-models"),
        ("Deployment", "demo-triton"),
        ("Service", "demo-triton"),
    ]
    services = compose(made.tree)["services"]
    assert [each["image"] for each in services.values()][:2] == ["demo-add:1.2.0", "demo-image_ops:1.2.0"]
    hosts = [port.split(":")[0] for each in services.values() for port in each["ports"]]
    assert len(set(hosts)) == len(hosts) == 6  # HTTP and gRPC of each
    (warning,) = made.warnings
    assert "portalis-triton" in warning.message
    assert "`python -m portalis.nim.triton triton-image && docker build -t portalis-triton:" in warning.remediation
    assert target.run(work, made) is made


def test_a_package_image_is_one_workload(add: WasmBinaryPath, tmp_path: Path) -> None:
    config = ContainerConfiguration(package_image=True)
    work = job([add, WasmBinaryPath(path=wasm(tmp_path, "image_ops"))], triton=False, container_config=config)
    made = target.generate(work)
    validate(made.tree)
    assert set(texts(made.tree)) == {"deployment/compose.yaml", "deployment/kubernetes/demo.yaml"}
    assert [(name, each["image"]) for name, each in compose(made.tree)["services"].items()] == [("demo", "demo:1.2.0")]
    assert list(target.spec_problems(work.spec)) == []
    named = config.model_copy(update={"image_name": "1demo"})
    (digit,) = target.spec_problems(
        job([add], package_name="1demo", container_config=config, enable_triton_integration=False).spec
    )
    assert digit.where == "package_name" and "begins with a digit" in digit.message
    (digit,) = target.spec_problems(job([add], container_config=named).spec)
    assert digit.where == "container_config.image_name" and "begins with a digit" in digit.message


def test_ports_have_names_and_prometheus_is_configured_for_metrics(add: WasmBinaryPath) -> None:
    work = with_config(add, service_port=8100, grpc_port=8101, metrics_port=9100)
    _, container = pod(work, "demo-add")
    ports = {"http": 8100, "grpc": 8101, "metrics": 9100}
    assert {each["name"]: each["containerPort"] for each in container["ports"]} == ports
    (service,) = [
        each
        for each in objects(target.generate(work).tree)
        if (each["kind"], each["metadata"]["name"]) == ("Service", "demo-add")
    ]
    assert {each["name"]: each["port"] for each in service["spec"]["ports"]} == ports
    assert compose(target.generate(work).tree)["services"]["demo-add"]["ports"] == ["8100:8100", "8101:8101"]
    assert deployment(work, "demo-add")["spec"]["template"]["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "9100",
        "prometheus.io/path": "/metrics",
    }
    other = deployment(with_config(add, entrypoint=("own",)), "demo-add")
    assert "annotations" not in other["spec"]["template"]["metadata"]


def test_the_grace_period_covers_accepted_requests(add: WasmBinaryPath) -> None:
    work = job([add])
    services = compose(target.generate(work).tree)["services"]
    for name, least in ("demo-add", SHUTDOWN_S + 1), ("demo-triton", 30):
        grace = pod(work, name)[0]["terminationGracePeriodSeconds"]
        assert grace > least
        assert services[name]["stop_grace_period"] == f"{grace}s"


def test_the_report_matches_the_files(add: WasmBinaryPath) -> None:
    made = target.generate(with_config(add, environment_vars={"A": "$x"}))
    manifests = made.artifacts.deployment_manifests
    assert [(each.manifest_type, each.file_path) for each in manifests] == [
        ("Kubernetes", "/package/deployment/kubernetes/demo-add.yaml"),
        ("Kubernetes", "/package/deployment/kubernetes/demo-triton.yaml"),
        ("DockerCompose", "/package/deployment/compose.yaml"),
    ]
    resources = [each for manifest in manifests for each in manifest.kubernetes_resources or ()]
    assert [each.kind for each in resources] == [each["kind"] for each in objects(made.tree)]
    services = manifests[-1].docker_compose_services
    assert services is not None
    assert services["demo-add"].environment == {"A": "$x"}
    assert services["demo-triton"].volumes == ("../triton:/models:ro",)
    Artifacts.model_validate_json(made.artifacts.model_dump_json())


def test_the_same_job_gives_the_same_bytes(add: WasmBinaryPath) -> None:
    assert list(target.generate(job([add])).tree) == list(target.generate(job([add])).tree)


def test_probes_use_the_health_check_of_the_image(add: WasmBinaryPath) -> None:
    work = with_config(
        add,
        health_check_endpoint="/alive",
        health_check_interval=7,
        health_check_timeout=2,
        health_check_retries=4,
        service_port=8123,
    )
    _, container = pod(work, "demo-add")
    assert container["livenessProbe"] == {
        "httpGet": {"path": "/alive", "port": "http"},
        "periodSeconds": 7,
        "timeoutSeconds": 2,
        "failureThreshold": 4,
    }
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/health/ready"
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] == 60
    assert {"name": "http", "containerPort": 8123} in container["ports"]
    _, usual = pod(job([add]), "demo-add")
    assert usual["livenessProbe"]["httpGet"]["path"] == "/v1/health/live"
    _, other = pod(with_config(add, entrypoint=("own",), health_check_endpoint="/alive"), "demo-add")
    assert other["readinessProbe"]["httpGet"]["path"] == "/alive"


def test_limits_are_in_both_files_in_the_units_of_each(add: WasmBinaryPath) -> None:
    work = with_config(add, memory_limit="2G", cpu_limit="1.5", gpu_required=True, gpu_count=2)
    tree = target.generate(work).tree
    validate(tree)
    _, container = pod(work, "demo-add")
    assert container["resources"]["limits"] == {"memory": "2000000000", "cpu": "1500m", "nvidia.com/gpu": "2"}
    resources = compose(tree)["services"]["demo-add"]["deploy"]["resources"]
    assert resources["limits"] == {"cpus": "1.500", "memory": "2000000000"}
    assert resources["reservations"]["devices"] == [{"driver": "nvidia", "count": 2, "capabilities": ["gpu"]}]


def test_a_container_has_the_security_settings_of_the_spec(add: WasmBinaryPath) -> None:
    work = job([add])
    spec, container = pod(work, "demo-add")
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["volumeMounts"] == [
        {"name": "writable-0", "mountPath": "/tmp"},
        {"name": "cache", "mountPath": "/opt/nim/.cache"},
        {"name": "model-store", "mountPath": "/model-store"},
    ]
    assert spec["volumes"] == [{"name": name, "emptyDir": {}} for name in ("writable-0", "cache", "model-store")]
    document = compose(target.generate(work).tree)
    service = document["services"]["demo-add"]
    assert (service["read_only"], service["cap_drop"], service["tmpfs"]) == (True, ["ALL"], ["/tmp"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == [
        {"type": "volume", "source": "demo-add-cache", "target": "/opt/nim/.cache"},
        {"type": "volume", "source": "demo-add-model-store", "target": "/model-store"},
    ]
    assert document["volumes"] == {"demo-add-cache": {}, "demo-add-model-store": {}}


def test_writable_paths_are_those_that_the_image_opens_to_every_user(add: WasmBinaryPath) -> None:
    _, container = pod(job([add]), "demo-add")
    assert {each["mountPath"] for each in container["volumeMounts"]} == {"/tmp", CACHE_FOLDER, MODEL_STORE}


def test_relaxed_security_settings_are_not_tightened(add: WasmBinaryPath) -> None:
    work = with_config(add, run_as_non_root=False, read_only_root_filesystem=False, drop_capabilities=("cap_net_raw",))
    spec, container = pod(work, "demo-add")
    assert "runAsNonRoot" not in spec["securityContext"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["NET_RAW"]}
    _, free = pod(with_config(add, drop_capabilities=()), "demo-add")
    assert "capabilities" not in free["securityContext"]
    validate(target.generate(work).tree)


def test_host_directories_are_mounted_and_one_at_tmp_replaces_the_empty_one(add: WasmBinaryPath) -> None:
    volumes = (
        VolumeMount(host_path="/srv/a", container_path="/data"),
        VolumeMount(host_path="/srv/b", container_path="/tmp/", read_only=False),
        VolumeMount(host_path="/srv/c", container_path="/opt/nim/.cache", read_only=False),
    )
    work = with_config(add, volumes=volumes)
    spec, container = pod(work, "demo-add")
    assert container["volumeMounts"] == [
        {"name": "model-store", "mountPath": "/model-store"},
        {"name": "host-0", "mountPath": "/data", "readOnly": True},
        {"name": "host-1", "mountPath": "/tmp/"},
        {"name": "host-2", "mountPath": "/opt/nim/.cache"},
    ]
    assert spec["volumes"][1] == {"name": "host-0", "hostPath": {"path": "/srv/a"}}
    tree = target.generate(work).tree
    validate(tree)
    assert "tmpfs" not in compose(tree)["services"]["demo-add"]


def test_the_triton_server_has_storage_gpus_and_shared_memory(add: WasmBinaryPath) -> None:
    groups = (InstanceGroup(kind=InstanceKind.GPU, gpus=(0, 2)),)
    work = job([add], containers=False, triton_config=TritonConfiguration(instance_groups=groups))
    tree = target.generate(work).tree
    validate(tree)
    spec, container = pod(work, "demo-triton")
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "3"}
    assert container["args"] == ["tritonserver", "--model-repository=/models"]
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "demo-triton-models"}} in spec["volumes"]
    assert compose(tree)["services"]["demo-triton"]["shm_size"] == 1 << 30


def kubernetes_expands(text: str, known: dict[str, str]) -> str:
    """The expansion of a value by a kubelet (``k8s.io/kubernetes/third_party/forked/golang/expansion``)."""
    result, at = "", 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            result, at = result + text[at], at + 1
        elif text[at + 1] == "$":
            result, at = result + "$", at + 2
        elif text[at + 1] == "(" and ")" in text[at:]:
            end = text.index(")", at)
            name = text[at + 2 : end]
            result, at = result + known.get(name, f"$({name})"), end + 1
        else:
            result, at = result + text[at : at + 2], at + 2
    return result


# the substitution of compose-go's `template` package
COMPOSE_DOLLAR = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<named>[_a-z][_a-z0-9]*)|\{(?P<braced>[^}]*)\}|(?P<invalid>))", re.IGNORECASE
)


def compose_interpolates(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        assert found["invalid"] is None, "compose refuses the file"
        return "$" if found["escaped"] else "put in from outside"

    return COMPOSE_DOLLAR.sub(one, text)


@given(VALUES)
def test_a_value_with_dollars_reaches_the_process_unchanged(value: str) -> None:
    assert kubernetes_expands(escape_expansion(value), {"HOME": "x", "A": "y"}) == value
    assert compose_interpolates(escape_interpolation(value)) == value


@given(
    st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), VALUES, max_size=3), VALUES, VALUES
)
@example({"A": 'it\'s "$(B)" ${C}\nnext'}, "a: b\n- c", "/srv/${x}")
@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_the_files_are_valid_and_contain_the_values_for_any_values(
    add: WasmBinaryPath, environment: dict[str, str], description: str, path: str
) -> None:
    volumes = (VolumeMount(host_path=f"/{path}", container_path="/data"),)
    work = job(
        [add],
        description=description,
        container_config=ContainerConfiguration(environment_vars=environment, volumes=volumes),
    )
    tree = target.generate(work).tree
    validate(tree)
    spec, container = pod(work, "demo-add")
    env = {each["name"]: kubernetes_expands(each["value"], {}) for each in container.get("env", ())}
    assert env == environment
    (mounted,) = [each["hostPath"]["path"] for each in spec["volumes"] if "hostPath" in each]
    assert mounted == f"/{path}"
    assert (
        deployment(work, "demo-add")["metadata"].get("annotations", {}).get("kubernetes.io/description", "")
        == description
    )
    service = compose(tree)["services"]["demo-add"]
    assert {key: compose_interpolates(value) for key, value in service.get("environment", {}).items()} == environment
    assert compose_interpolates(service["volumes"][0]["source"]) == f"/{path}"


def test_the_stage_is_skipped_if_nothing_deployable_was_built(add: WasmBinaryPath) -> None:
    work = job([add])
    made = target.generate(of(work.spec, work.modules, Artifacts()))
    assert len(made.tree) == 0
    assert made.errors == ()
    assert made.skipped is not None
    assert "no service image and no Triton model was built" in made.skipped


def test_the_target_is_skipped_only_if_the_spec_has_nothing_to_deploy(add: WasmBinaryPath) -> None:
    assert target.skip_reason(job([add]).spec) is None
    why = target.skip_reason(job([add], enable_nim_packaging=False, enable_triton_integration=False).spec)
    assert why is not None
    assert "nothing to deploy" in why


def test_invalid_names_are_reported_with_the_rule_before_anything_is_written(add: WasmBinaryPath) -> None:
    binaries = [add.model_copy(update={"name": name}) for name in ("modèle", "a.b", "a_b")]
    found = {problem.where: problem.message for problem in target.spec_problems(job(binaries, triton=False).spec)}
    assert "'demo-modèle', is not a valid Kubernetes name: use lower-case letters" in found["wasm_binaries[0].name"]
    assert "2 of the Kubernetes objects would have the name 'demo-a-b'" in found["wasm_binaries[2].name"]
    assert list(target.spec_problems(job([add]).spec)) == []
    config = ContainerConfiguration(image_name="acme/1-name")  # a single image does not have the module's name
    assert (
        list(
            target.spec_problems(
                job(binaries[:1], triton=False, enable_triton_integration=False, container_config=config).spec
            )
        )
        == []
    )
    (digit,) = target.spec_problems(job([add], package_name="1demo", enable_nim_packaging=False).spec)
    assert digit.where == "package_name"
    assert "begins with a digit" in digit.message


def test_kubernetes_requires_absolute_host_paths(add: WasmBinaryPath) -> None:
    volumes = tuple(VolumeMount(host_path=path, container_path="/data") for path in ("data", "/a/../b", "/ok"))
    found = [problem.where for problem in target.spec_problems(with_config(add, volumes=volumes).spec)]
    assert found == ["container_config.volumes[0].host_path", "container_config.volumes[1].host_path"]


def test_all_files_are_in_one_directory(add: WasmBinaryPath) -> None:
    assert {entry.path.parts[0] for entry in target.generate(job([add])).tree} == {"deployment"}


def test_the_documentation_lists_the_types_of_manifests() -> None:
    (row,) = [line for line in (ROOT / "docs" / "distribution.md").read_text().splitlines() if "`deployment/`" in line]
    words = {"Kubernetes": "Kubernetes", "DockerCompose": "Compose", "Helm": "Helm", "Terraform": "Terraform"}
    promised = row.partition(";")[0]
    assert {kind for kind, word in words.items() if word in promised} == {kind.value for kind in target.WRITERS}
    assert "chart" not in (ROOT / "docs" / "publishing.md").read_text()

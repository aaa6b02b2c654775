"""Logins of Docker and Podman, credential helpers, and the removal of secrets from text."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from portalis.errors import UsageError
from portalis.oci.address import parse_address
from portalis.oci.credentials import Credentials, Redactor
from portalis.oci.logins import PASSWORD_VARIABLE, USERNAME_VARIABLE, find_credentials

ADDRESS = parse_address("registry.example.com:5000/team")
HOST = ADDRESS.host
AUTH = base64.b64encode(b"someone:se:cret").decode()


def find(folder: Path, config: object) -> Credentials | None:
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return find_credentials(ADDRESS, {"DOCKER_CONFIG": str(folder), "PATH": f"{folder}:/usr/bin:/bin"})


def helper(folder: Path, script: str, name: str = "store") -> None:
    place = folder / f"docker-credential-{name}"
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/v1/", f"{HOST}/v2/"])
def test_a_login_in_dockers_config_is_found(tmp_path: Path, key: str) -> None:
    found = find(tmp_path, {"auths": {"another.example.com": {"auth": "eDp5"}, key: {"auth": AUTH}}})
    assert found is not None
    assert (found.username, found.secret, found.is_token) == ("someone", "se:cret", False)
    assert "se:cret" not in repr(found)


def test_an_identity_token_overrides_a_password(tmp_path: Path) -> None:
    found = find(tmp_path, {"auths": {HOST: {"auth": AUTH, "identitytoken": "token"}}})
    assert found is not None and found.is_token and found.secret == "token"


def test_the_helper_of_the_registry_overrides_the_common_one(tmp_path: Path) -> None:
    helper(tmp_path, """echo '{"Username": "<token>", "Secret": "token"}'""", "one")
    helper(tmp_path, "exit 1", "all")
    found = find(tmp_path, {"credHelpers": {HOST: "one"}, "credsStore": "all", "auths": {HOST: {"auth": AUTH}}})
    assert found is not None and found.is_token and found.source == "docker-credential-one"


def test_the_config_is_used_if_the_store_has_no_login(tmp_path: Path) -> None:
    helper(tmp_path, "echo credentials not found in native keychain; exit 1")
    found = find(tmp_path, {"credsStore": "store", "auths": {HOST: {"auth": AUTH}}})
    assert found is not None and found.username == "someone"


@pytest.mark.parametrize(
    "config", [{}, [], {"auths": {}}, {"auths": []}, {"auths": {HOST: {}}}, {"auths": {HOST: "x"}}]
)
def test_there_are_no_credentials_without_a_login(tmp_path: Path, config: object) -> None:
    assert find(tmp_path, config) is None
    assert find_credentials(ADDRESS, {"HOME": str(tmp_path / "nowhere")}) is None


@pytest.mark.parametrize(
    ("config", "script", "message"),
    [
        ('{"auths": {"x": {"auth": "se:cret', None, "is not JSON"),
        ({"auths": {HOST: {"auth": "se:cret"}}}, None, "not base64"),
        ({"credsStore": "store"}, None, "not on PATH"),
        ({"credsStore": "../keeper"}, None, "not a valid name of a credential helper"),
        ({"credsStore": "store"}, "echo se:cret; exit 2", "failed \\(exit 2\\)"),
        ({"credsStore": "store"}, "echo se:cret", "unexpected response"),
        ({"credsStore": "store"}, """echo '["se:cret"]'""", "unexpected response"),
    ],
)
def test_an_error_does_not_repeat_the_invalid_content(
    tmp_path: Path, config: object, script: str | None, message: str
) -> None:
    if script is not None:
        helper(tmp_path, script)
    with pytest.raises(UsageError, match=message) as caught:
        find(tmp_path, config)
    assert "se:cret" not in str(caught.value)


@pytest.mark.parametrize("name", [USERNAME_VARIABLE, PASSWORD_VARIABLE])
def test_one_of_the_two_variables_is_an_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is set"):
        find_credentials(ADDRESS, {name: "se:cret"})


@pytest.mark.parametrize("secret", ["correct horse/battery+staple", 'qu"ote\\', "ümlaut", "x"])
def test_a_secret_is_hidden_in_all_its_forms(secret: str) -> None:
    from urllib.parse import quote, quote_plus

    redactor = Redactor()
    redactor.hide(secret)
    forms = [secret, quote(secret, safe=""), quote_plus(secret), base64.b64encode(secret.encode()).decode()]
    text = redactor.redact(" | ".join([*forms, json.dumps(secret)]))
    assert not any(form in text.replace("[hidden]", "") for form in forms)


def podman(folder: Path, config: object, address: str = "registry.example.com:5000/team/a", **variables: str) -> object:
    """The login that is found with `config` as Podman's auth.json at its first path."""
    (folder / "containers").mkdir(exist_ok=True)
    (folder / "containers" / "auth.json").write_text(config if isinstance(config, str) else json.dumps(config))
    environment = {"HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(folder), "PATH": f"{folder}:/usr/bin:/bin"}
    found = find_credentials(parse_address(address), environment | variables)
    return None if found is None else (found.username, found.secret)


def auth(name: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{name}:secret of {name}".encode()).decode()}


def test_a_login_of_podman_is_found(tmp_path: Path) -> None:
    assert podman(tmp_path, {"auths": {HOST: auth("me")}}) == ("me", "secret of me")


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ([HOST, f"{HOST}/team", f"{HOST}/team/a"], f"{HOST}/team/a"),
        ([f"{HOST}/team", HOST], f"{HOST}/team"),
        ([f"{HOST}/other", HOST, f"{HOST}/team/a/b"], HOST),
        ([f"{HOST}/other", f"{HOST}/team/a/b", f"{HOST}/tea"], None),
    ],
)
def test_podmans_login_with_the_longest_path_is_used(tmp_path: Path, keys: list[str], name: str | None) -> None:
    names = {key: f"user{i}" for i, key in enumerate(keys)}
    expected = None if name is None else (names[name], f"secret of {names[name]}")
    assert podman(tmp_path, {"auths": {key: auth(user) for key, user in names.items()}}) == expected


def test_the_auth_file_variable_replaces_podmans_other_files(tmp_path: Path) -> None:
    named = tmp_path / "named.json"
    named.write_text(json.dumps({"auths": {HOST: auth("named")}}))
    given = {"auths": {HOST: auth("other")}}
    assert podman(tmp_path, given, REGISTRY_AUTH_FILE=str(named)) == ("named", "secret of named")
    named.write_text("{}")
    assert podman(tmp_path, given, REGISTRY_AUTH_FILE=str(named)) is None
    assert podman(tmp_path, given, REGISTRY_AUTH_FILE=str(tmp_path / "none")) is None


def test_podmans_file_in_the_home_directory_is_read_last(tmp_path: Path) -> None:
    for folder in (tmp_path / "home" / ".config", tmp_path / "settings"):
        (folder / "containers").mkdir(parents=True)
        (folder / "containers" / "auth.json").write_text(json.dumps({"auths": {HOST: auth(folder.name.strip("."))}}))
    assert podman(tmp_path, {}) == ("config", "secret of config")
    assert podman(tmp_path, {}, XDG_CONFIG_HOME=str(tmp_path / "settings")) == ("settings", "secret of settings")
    assert podman(tmp_path, {"auths": {HOST: auth("first")}}) == ("first", "secret of first")


def test_dockers_login_overrides_podmans(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {HOST: auth("docker")}}))
    given = {"auths": {HOST: auth("podman")}}
    assert podman(tmp_path, given, DOCKER_CONFIG=str(tmp_path)) == ("docker", "secret of docker")


def test_a_helper_in_podmans_file_is_run_for_the_registry(tmp_path: Path) -> None:
    helper(tmp_path, 'read key; echo "{\\"Username\\": \\"asked\\", \\"Secret\\": \\"$key\\"}"')
    assert podman(tmp_path, {"credHelpers": {HOST: "store"}, "auths": {HOST: auth("me")}}) == ("asked", HOST)


def test_podmans_login_for_docker_hub_has_the_short_name(tmp_path: Path) -> None:
    assert podman(tmp_path, {"auths": {"docker.io": auth("me")}}, "docker.io/me") == ("me", "secret of me")


@pytest.mark.parametrize("config", ["{", '{"auths": {"x": }}', "[" * 5000, "\xff", '{"a": "' + "x" * (1 << 20) + '"}'])
def test_the_error_for_an_invalid_auth_file_does_not_repeat_its_content(tmp_path: Path, config: str) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*auth\.json: it is not JSON") as caught:
        podman(tmp_path, config)
    assert len(caught.value.message) < 300

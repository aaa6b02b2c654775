"""Recognises files that hold secrets, by their names and by the private keys in them.

A name decides alone where nothing else is called so; what can also be public or plain settings (``*.pem``, ``.npmrc``)
is looked into.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

LOOKED_INTO = 4 << 20  # bytes of a file, from its beginning
# folders of tools that keep credentials in them
FOLDERS = (".aws", ".azure", ".gnupg", ".kube", ".ssh", ".config/gcloud")
FILES = (
    # keys
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.p12", "*.pfx", "*.p8", "*.jks", "*.keystore", "*.kdbx",
    "*.ppk",
    # logins of programs
    ".netrc", "_netrc", ".pgpass", ".my.cnf", ".git-credentials", ".htpasswd", ".vault-token", ".s3cfg", ".boto",
    ".dockercfg", ".docker/config.json", "containers/auth.json", "kubeconfig", "*.kubeconfig", ".terraformrc",
    "credentials.tfrc.json", "terraform.tfstate", "terraform.tfstate.*", "*.tfstate", "*.tfstate.backup",
    # settings with secrets
    ".env", ".env.*", ".envrc",
)  # fmt: skip
_PUBLIC_NAMES = ("*.pub", ".env.example", ".env.sample", ".env.template", ".env.dist", ".env.defaults")
# not credentials.rs, which is source
_DATA = (
    "",
    ".toml",
    ".json",
    ".yaml",
    ".yml",
    ".ini",
    ".csv",
    ".xml",
    ".txt",
    ".env",
    ".cfg",
    ".conf",
    ".properties",
    ".db",
)
_DATA_NAMES = ("credential", "credentials", "secret", "secrets", "service-account", "service_account", "client_secret")
_KEY_FILES = ("*.key", "*.pem", "id_*")
_TOKENS = {
    ".npmrc": re.compile(rb"_(authToken|auth|password)\s*=", re.IGNORECASE),
    ".yarnrc.yml": re.compile(rb"npmAuth(Token|Ident)\s*:"),
    ".pypirc": re.compile(rb"^\s*password\s*[=:]", re.MULTILINE),
    "pip.conf": re.compile(rb"://[^/\s:@]+:[^/\s@]+@"),
}
# Between its lines a key has base64 and a few headers. A program that reads keys has the lines alone, in quotes.
_PRIVATE = re.compile(
    rb"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?)-----(?:\\?[\r\n]|\\[rn])"
    rb"(?:[A-Za-z-]+: [^\r\n]*\r?\n)*[A-Za-z0-9+/=\s\\]+-----END \1-----"
)
_STARTS_PRIVATE = re.compile(rb"\s*-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File-")
_AGE = re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]{50}")
# lines of other text may stand before it, as openssl writes them
_PUBLIC = re.compile(
    rb"(?:[^-\x00\n][^\n\x00]*\n|\n)*-----BEGIN "
    rb"(?:(?:TRUSTED |X509 )?CERTIFICATE|(?:[A-Z]+ )?PUBLIC KEY|X509 CRL|[A-Z]+ PARAMETERS)"
)


def secret_folder(parts: Sequence[str]) -> bool:
    """Whether a folder is one of a tool's credentials; `parts` are those of its path."""
    return _is_named(parts, FOLDERS)


def secret(parts: Sequence[str], path: Path) -> str | None:
    """What kind of secret the file at `path` holds; `parts` end with its name. None for none. Raises OSError."""
    name = parts[-1].lower()
    if any(fnmatchcase(name, each) for each in _PUBLIC_NAMES):
        return _in_content(name, path)
    stem, dot, ending = name.partition(".")
    is_data = stem in _DATA_NAMES or stem.startswith("credentials")
    if _is_named(parts, FILES) or (is_data and dot + ending in _DATA):
        return "credentials, by its name"
    return _in_content(name, path)


def _in_content(name: str, path: Path) -> str | None:
    with path.open("rb") as file:
        data = file.read(LOOKED_INTO)
    if _STARTS_PRIVATE.match(data) or _AGE.search(data) or (b"PRIVATE KEY" in data and _PRIVATE.search(data)):
        return "a private key"
    if name in _TOKENS and _TOKENS[name].search(data):
        return "a token or password"
    is_key = any(fnmatchcase(name, each) for each in _KEY_FILES) and not (name.startswith("id_") and "." in name)
    return "a key, by its name" if is_key and not _PUBLIC.match(data) else None


def _is_named(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether the end of a path is one of `patterns`, whatever its capitals."""
    lower = [part.lower() for part in parts]
    return any(
        len(lower) >= len(wanted) and all(map(fnmatchcase, lower[-len(wanted) :], wanted))
        for wanted in (pattern.split("/") for pattern in patterns)
    )

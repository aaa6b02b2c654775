"""Detection of files that contain secrets, by name and by the private keys in their content.

For names that only secrets have, the name decides. Files that can also be public or plain configuration (``*.pem``,
``.npmrc``) are scanned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

SCANNED_BYTES = 4 << 20  # from the beginning of a file
# directories in which tools store credentials
_SECRET_FOLDERS = (".aws", ".azure", ".gnupg", ".kube", ".ssh", ".config/gcloud")
_SECRET_FILES = (
    # keys
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.p12", "*.pfx", "*.p8", "*.jks", "*.keystore", "*.kdbx",
    "*.ppk",
    # credentials of programs
    ".netrc", "_netrc", ".pgpass", ".my.cnf", ".git-credentials", ".htpasswd", ".vault-token", ".s3cfg", ".boto",
    ".dockercfg", ".docker/config.json", "containers/auth.json", "kubeconfig", "*.kubeconfig", ".terraformrc",
    "credentials.tfrc.json", "terraform.tfstate", "terraform.tfstate.*", "*.tfstate", "*.tfstate.backup",
    # settings that include secrets
    ".env", ".env.*", ".envrc",
)  # fmt: skip
_PUBLIC_NAMES = ("*.pub", ".env.example", ".env.sample", ".env.template", ".env.dist", ".env.defaults")
# endings of data files: credentials.rs is source
_DATA_ENDINGS = (
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
# A key has base64 and a few headers between its markers. Source code that parses keys has only the markers, quoted.
_PRIVATE = re.compile(
    rb"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?)-----(?:\\?[\r\n]|\\[rn])"
    rb"(?:[A-Za-z-]+: [^\r\n]*\r?\n)*[A-Za-z0-9+/=\s\\]+-----END \1-----"
)
_STARTS_PRIVATE = re.compile(rb"\s*-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File-")
_AGE = re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]{50}")
# openssl writes lines of other text before the marker
_PUBLIC = re.compile(
    rb"(?:[^-\x00\n][^\n\x00]*\n|\n)*-----BEGIN "
    rb"(?:(?:TRUSTED |X509 )?CERTIFICATE|(?:[A-Z]+ )?PUBLIC KEY|X509 CRL|[A-Z]+ PARAMETERS)"
)


def is_secret_folder(parts: Sequence[str]) -> bool:
    """Whether the directory with the path `parts` is one in which a tool stores credentials."""
    return _has_name(parts, _SECRET_FOLDERS)


def secret_kind(parts: Sequence[str], path: Path) -> str | None:
    """Return the kind of secret in the file at `path`, or None; the last of `parts` is its name. Raises OSError."""
    name = parts[-1].lower()
    if any(fnmatchcase(name, each) for each in _PUBLIC_NAMES):
        return _kind_by_content(name, path)
    stem, dot, ending = name.partition(".")
    is_data = stem in _DATA_NAMES or stem.startswith("credentials")
    if _has_name(parts, _SECRET_FILES) or (is_data and dot + ending in _DATA_ENDINGS):
        return "credentials (detected by its name)"
    return _kind_by_content(name, path)


def _kind_by_content(name: str, path: Path) -> str | None:
    with path.open("rb") as file:
        data = file.read(SCANNED_BYTES)
    if _STARTS_PRIVATE.match(data) or _AGE.search(data) or (b"PRIVATE KEY" in data and _PRIVATE.search(data)):
        return "a private key"
    if name in _TOKENS and _TOKENS[name].search(data):
        return "a token or password"
    is_key = any(fnmatchcase(name, each) for each in _KEY_FILES) and not (name.startswith("id_") and "." in name)
    return "a key (detected by its name)" if is_key and not _PUBLIC.match(data) else None


def _has_name(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether the end of a path matches one of `patterns`; case is ignored."""
    lower = [part.lower() for part in parts]
    return any(
        len(lower) >= len(pattern_parts) and all(map(fnmatchcase, lower[-len(pattern_parts) :], pattern_parts))
        for pattern_parts in (pattern.split("/") for pattern in patterns)
    )

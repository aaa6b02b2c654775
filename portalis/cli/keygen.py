"""`portalis keygen`: generates a key pair for signing provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..atomic_files import create_file
from ..errors import UsageError
from ..escaping import printable


def keygen(
    prefix: Annotated[Path, typer.Argument(metavar="[PREFIX]", help="Writes PREFIX.key and PREFIX.pub.")] = Path(
        "portalis"
    ),
    algorithm: Annotated[str, typer.Option(help="ed25519 or ecdsa-p256.")] = "ed25519",
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Encrypt the private key with the passphrase in this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Generate a key pair: the private key PREFIX.key, readable only by its owner, and the public key PREFIX.pub.

    The private key is encrypted with the passphrase in PORTALIS_SIGNING_PASSPHRASE, in the file named by
    PORTALIS_SIGNING_PASSPHRASE_FILE, or in --passphrase-file. Existing files are not overwritten.

    Example: portalis keygen release --passphrase-file secret.txt
    """
    from ..dist.attest.keys import generate_key
    from ..dist.attest.passphrase import read_passphrase_file, signing_passphrase

    secret = signing_passphrase() if passphrase_file is None else read_passphrase_file(passphrase_file)
    private, public = (prefix.with_name(f"{prefix.name}{ending}") for ending in (".key", ".pub"))
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists", remediation="Choose another PREFIX, or move the existing key.")
    key = generate_key(algorithm)
    _create(private, key.pem(secret), 0o600)
    try:
        _create(public, key.public.pem(), 0o644)
    except UsageError:
        private.unlink()
        raise
    if as_json:
        made = {"private": str(private), "public": str(public), "keyid": key.public.keyid}
        print(json.dumps({**made, "algorithm": algorithm, "encrypted": secret is not None}, indent=2))
        return
    encryption = "encrypted" if secret is not None else "not encrypted: set PORTALIS_SIGNING_PASSPHRASE to encrypt it"
    print(printable(f"{private}: private key; keep it secret ({encryption})"))
    print(printable(f"{public}: public key; distribute it (keyid {key.public.keyid})"))


def _create(path: Path, data: bytes, mode: int) -> None:
    """Create a file with `mode`."""
    try:
        with create_file(path, mode) as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None

"""Names of files and directories in an output directory, each written by one target and read by others."""

from __future__ import annotations

from pathlib import PurePosixPath

ARCHIVES = PurePosixPath("archives")
CONTAINERS = PurePosixPath("containers")
OMNIVERSE = PurePosixPath("omniverse")
DOCS = PurePosixPath("docs")
DEPLOYMENT = PurePosixPath("deployment")

REPORT = "packaging-report.json"  # a directory with a report was written by a run, and may be replaced
PUBLISH_SCRIPT = "publish.sh"
IMAGE_ARCHIVE = "image.tar"
WASM_RUNTIME = "wasm-runtime"

# file name endings: after the name of the archive that a file is about
SBOM_ENDING = "sbom.cdx.json"
SIGNED_ENDING = "intoto.jsonl"
UNSIGNED_ENDING = "provenance.json"

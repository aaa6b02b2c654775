"""Names of settings in each tool that loads modules, for the remediation in messages."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class SettingNames:
    """Names and phrases of one tool. Each completes the sentence that its comment shows."""

    entry: str  # "choose one with …"
    args: str  # "declare … to say what each parameter is"
    signature: str  # "a gufunc needs a signature such as (n)->(n) (…)"
    declare: str  # "…": how to declare inputs and outputs
    pointers: str  # "…": how to declare an entry that takes pointers, or integers that are values
    limit: str  # "raise …": the pattern of a limit, {} is its name; "" if the tool has no limits
    milliseconds: bool = False  # whether time limits are named timeout_ms, not timeout_s
    owner: str = ""  # suffix for clients: whose setting it is, for example " of the server"
    trusted: str = ""  # "…": how to compile a module in this process, without limits; "" if impossible

    def limit_name(self, limit: str) -> str:
        """The tool's name for the field `limit` of `Limits`."""
        if self.milliseconds and limit.endswith("_s"):
            limit = f"{limit[:-1]}ms"
        return self.limit.format(limit)

    def raise_advice(self, limit: str) -> str:
        """The advice to raise `limit`, for a request that exceeded it."""
        return f"raise {self.limit_name(limit)}{self.owner}"

    def raise_to_advice(self, limit: str, minimum: int) -> str:
        """The advice to raise `limit` to at least `minimum`."""
        return f"raise {self.limit_name(limit)} to {minimum} or more"

    def more_time_advice(self, timeout_s: float, limit_s: float) -> str:
        """The advice for a call that was stopped after `timeout_s`; `limit_s` is the limit of the program."""
        if timeout_s < limit_s:
            return f"the request's own limit, which can be up to {limit_s:g} s"
        return f"{self.raise_advice('timeout_s')} if it needs longer"


_ANNOTATE = "write them into the module with 'portalis annotate'"
_ANNOTATE_IT = "write it into the module with 'portalis annotate'"
_OPTIONS = (
    "--convention gufunc --signature '(n)->(n)' with --input and --output, or --convention elementwise if the integers"
    " are values"
)
_KEYS = (
    'convention = "gufunc", signature = "(n)->(n)", inputs and outputs (or convention = "elementwise" if the integers'
    " are values)"
)

TRITON_NAMES = SettingNames(
    entry="wasm.entry",
    args="wasm.args",
    signature="wasm.signature",
    declare=f"declare input and output in config.pbtxt, or {_ANNOTATE}",
    pointers=(
        'Declare it in config.pbtxt, for example parameters { key: "wasm.convention" value { string_value: "gufunc" } }'
        ' with wasm.signature "(n)->(n)" and input and output (or wasm.convention "elementwise" if the integers are'
        f" values), or {_ANNOTATE_IT}"
    ),
    limit="wasm.{}",
    milliseconds=True,
    trusted="set wasm.trusted",
)
PYTHON_NAMES = SettingNames(
    entry='interface={"entry": …}',
    args='interface={"args": […]}',
    signature='interface={"signature": …}',
    declare=f"pass inputs and outputs with interface=, or {_ANNOTATE}",
    pointers=(
        'Pass interface={"convention": "gufunc", "signature": "(n)->(n)", "inputs": […], "outputs": […]} (or'
        f' {{"convention": "elementwise"}} if the integers are values), or {_ANNOTATE_IT}'
    ),
    limit="Limits.{}",
    trusted="pass trusted=True",
)
"""For callers of `Program.load`."""


def _document_names(keys: str, place: str, limit: str) -> SettingNames:
    """The names for a tool whose interfaces are declared at `place` of a document, with keys of `keys`."""
    return SettingNames(
        entry=f"interface.entry in {keys}",
        args=f"interface.args in {keys}",
        signature=f"interface.signature in {keys}",
        declare=f"declare inputs and outputs in {place}, or {_ANNOTATE}",
        pointers=f"Declare it in {place}: {_KEYS}; or {_ANNOTATE_IT}",
        limit=limit,
    )


SPEC_NAMES = replace(
    _document_names(
        "wasm_binaries", "the spec ([wasm_binaries.interface])", '"wasm.{}" in triton_config.backend_parameters'
    ),
    milliseconds=True,
    trusted='set "wasm.trusted" in triton_config.backend_parameters',
)
SERVICE_NAMES = replace(
    _document_names("service.json", "the model's interface in service.json", "limits.{} in service.json"),
    owner=" of the server",
)
IMAGE_NAMES = replace(SPEC_NAMES, limit="", trusted="")
"""For service images: they use the default limits, which no key of the spec changes."""
KIT_NAMES = _document_names(
    "wasm_binaries of the extension's spec", "the extension's spec", "the extension's setting {}"
)
INSPECT_NAMES = SettingNames(
    entry="--entry",
    args="them with 'portalis annotate --args'",
    signature="'portalis annotate --signature'",
    declare=f"{_ANNOTATE} (--input and --output)",
    pointers=f"{_ANNOTATE_IT[0].upper()}{_ANNOTATE_IT[1:]} ({_OPTIONS})",
    limit="wasm.{}, where the module is served,",
    milliseconds=True,
)
INFER_NAMES = replace(INSPECT_NAMES, entry="'portalis annotate --entry'", limit="--limit {}", milliseconds=False)
ANNOTATE_NAMES = SettingNames(
    entry="--entry",
    args="them with --args",
    signature="--signature",
    declare="pass them with --input and --output",
    pointers=f"Pass {_OPTIONS}",
    limit="wasm.{}, where the module is served,",
    milliseconds=True,
)
NAMES_BY_TOOL = {
    "triton": TRITON_NAMES,
    "python": PYTHON_NAMES,
    "spec": SPEC_NAMES,
    "image": IMAGE_NAMES,
    "service": SERVICE_NAMES,
    "kit": KIT_NAMES,
    "inspect": INSPECT_NAMES,
    "infer": INFER_NAMES,
    "annotate": ANNOTATE_NAMES,
}
"""The setting names of each tool."""

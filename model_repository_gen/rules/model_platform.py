"""Rules for what serves a model: its name, backend, platform, runtime, batch size and backend parameters."""

from __future__ import annotations

from ...naming import shell_problem
from ..pbtxt import ModelConfig
from .model_folder import MODEL_FILES, version_folders
from .rule import ENSEMBLE, ENVIRONMENT, MODEL_DIRECTORY, PYTHON_BASED, Problems, RuleContext, error, warning

# Triton sets the platform of these backends from the files of the version, and rejects any other combination.
_PLATFORMS = {
    "tensorflow": ("tensorflow_graphdef", "tensorflow_savedmodel"),
    "tensorrt": ("tensorrt_plan",),
    "onnxruntime": ("onnxruntime_onnx",),
    "pytorch": ("pytorch_libtorch", "torch_aoti"),
}
# a python-based backend of the server is a model.py; the Python backend itself is a library
_RUNTIMES = {"python": "libtriton_python.so", "wasm": "model.py"}
_FORCE_CPU = "FORCE_CPU_ONLY_INPUT_TENSORS"
SAFE_NAMES = "Use letters, digits, dots, dashes and underscores."
"""The remediation for a name that is not safe in a shell."""


def check_platform(config: ModelConfig, context: RuleContext) -> Problems:
    """Problems of the fields that choose what serves the model."""
    folder = context.folder
    if folder is not None and config.name and config.name != folder.name:
        yield error(
            "name",
            f"the model is named {config.name!r}, its directory {folder.name!r}",
            "Give both the same name, or remove the name from the configuration.",
        )
    yield from unsafe_names(config, folder.name if folder is not None else config.name)
    if config.max_batch_size < 0:
        message = f"expected 0 or more, got {config.max_batch_size}"
        yield error("max_batch_size", message, "Set 0 (no batching) or more.")
    yield from _backend(config, context)
    yield from _parameters(config)
    if config.HasField("model_metrics"):
        yield from _metrics(config)


def unsafe_names(config: ModelConfig | None, model: str) -> Problems:
    """Names with characters that have a meaning in a shell: Triton 2.51 passes them to a shell, unescaped, when it
    starts a Python-based model.

    The function checks the directory's name `model` and, in `config`, the names of the instance groups, the model's
    file and the Python environment.
    """
    names = {"name": model}
    if config is not None:
        names["default_model_filename"] = config.default_model_filename
        names |= {f"instance_group[{i}].name": group.name for i, group in enumerate(config.instance_group)}
        if ENVIRONMENT in config.parameters:
            value = config.parameters[ENVIRONMENT].string_value
            names[f"parameters[{ENVIRONMENT}]"] = value.removeprefix(MODEL_DIRECTORY)
    for where, name in names.items():
        reason = shell_problem(name)
        if reason:
            yield error(where, f"the name {name!r} {reason}", SAFE_NAMES)


def _backend(config: ModelConfig, context: RuleContext) -> Problems:
    backend, platform = config.backend, config.platform
    if platform == ENSEMBLE:
        if backend:
            yield error("backend", f"an ensemble cannot have a backend, got {backend!r}", "Remove backend.")
        if not config.HasField("ensemble_scheduling"):
            yield error("ensemble_scheduling", "the ensemble has no steps", "Add ensemble_scheduling with its steps.")
        return
    if not backend and not config.HasField("ensemble_scheduling"):
        if platform not in {each for known in _PLATFORMS.values() for each in known} and not _inferred(config, context):
            message = f"no backend of Triton serves the platform {platform!r}" if platform else "no backend is set"
            yield error("backend", message, 'Set backend, for example backend: "wasm".')
        return
    if context.backends is not None and backend and backend not in context.backends:
        installed = ", ".join(sorted(context.backends))
        yield error(
            "backend", f"the server has no backend {backend!r}", f"Install it, or use an installed one: {installed}."
        )
    allowed = _PLATFORMS.get(backend, ())
    if allowed and platform and platform not in allowed:
        yield error(
            "platform",
            f"backend {backend!r} does not serve the platform {platform!r}",
            f"Remove it, or set {' or '.join(allowed)}.",
        )
    runtime = _RUNTIMES.get(backend)
    if runtime and config.runtime not in ("", runtime):
        default = "its own" if backend == "wasm" else runtime
        message = f"backend {backend!r} has no runtime {config.runtime!r}"
        yield error("runtime", message, f"Remove it: the server finds {default}.")
    elif backend == "wasm" and config.runtime:
        yield warning(
            "runtime",
            f"{config.runtime!r} can become the runtime of the server's other 'wasm' models, too",
            "Remove it: the parameter wasm.engine selects what runs a module.",
        )


def _inferred(config: ModelConfig, context: RuleContext) -> bool:
    """Whether Triton derives the backend from a file name, or from a directory name ``<name>.<backend>``."""
    named = config.default_model_filename
    if named or config.platform or context.folder is None:
        return named in MODEL_FILES
    first = next(iter(version_folders(context.folder)), None)
    files = {path.name for path in first.iterdir()} if first is not None else set()
    return bool(files & MODEL_FILES) or "." in context.folder.name


def _parameters(config: ModelConfig) -> Problems:
    value = config.parameters[_FORCE_CPU].string_value if _FORCE_CPU in config.parameters else "yes"
    if config.backend in PYTHON_BASED and value not in ("yes", "no"):
        yield error(f"parameters[{_FORCE_CPU}]", f"expected yes or no, got {value!r}", "Set yes or no.")


def _metrics(config: ModelConfig) -> Problems:
    # Triton 2.51 cannot parse a configuration with this field; these are the checks of later releases.
    yield warning(
        "model_metrics",
        "Triton 2.51 and older cannot read a configuration with model_metrics",
        "Remove it, unless every server is newer.",
    )
    for i, control in enumerate(config.model_metrics.metric_control):
        where = f"model_metrics.metric_control[{i}]"
        if not control.metric_identifier.family:
            yield error(f"{where}.metric_identifier.family", "no metric family is set", "Name the metric family.")
        if not control.histogram_options.buckets:
            yield error(f"{where}.histogram_options.buckets", "no buckets are set", "List the buckets' bounds.")

"""Who serves the model: its name, backend, platform and runtime, the batch size, and parameters that backends read."""

from __future__ import annotations

from ...naming import shell_trouble
from ..pbtxt import ModelConfig
from .model_folder import MODEL_FILES, version_folders
from .rule import ENSEMBLE, ENVIRONMENT, MODEL_DIRECTORY, PYTHON_BASED, Problems, RuleContext, error, warning

# Triton fills in the platform of these backends from what the version folder holds, and refuses any other pair.
PLATFORMS = {
    "tensorflow": ("tensorflow_graphdef", "tensorflow_savedmodel"),
    "tensorrt": ("tensorrt_plan",),
    "onnxruntime": ("onnxruntime_onnx",),
    "pytorch": ("pytorch_libtorch", "torch_aoti"),
}
# a python-based backend of the server is a model.py; the Python backend itself is a library
RUNTIMES = {"python": "libtriton_python.so", "wasm": "model.py"}
FORCE_CPU = "FORCE_CPU_ONLY_INPUT_TENSORS"
SAFE_NAMES = "Use letters, digits, dots, dashes and underscores."


def check_platform(config: ModelConfig, context: RuleContext) -> Problems:
    folder = context.folder
    if folder is not None and config.name and config.name != folder.name:
        yield error(
            "name",
            f"the model is called {config.name!r}, its folder {folder.name!r}",
            "Give both the same name, or leave the name out of the configuration.",
        )
    yield from unsafe_names(config, folder.name if folder is not None else config.name)
    if config.max_batch_size < 0:
        yield error("max_batch_size", f"it is {config.max_batch_size}", "Set 0 (no batching) or more.")
    yield from _backend(config, context)
    yield from _parameters(config)
    if config.HasField("model_metrics"):
        yield from _metrics(config)


def unsafe_names(config: ModelConfig | None, model: str) -> Problems:
    """Names that mean something to a shell, to which Triton 2.51 hands them as they are when it starts a Python-based
    model: of the `model`'s folder, and in its `config` of instance groups, the file and the Python environment."""
    names = {"name": model}
    if config is not None:
        names["default_model_filename"] = config.default_model_filename
        names |= {f"instance_group[{i}].name": group.name for i, group in enumerate(config.instance_group)}
        if ENVIRONMENT in config.parameters:
            names[f"parameters[{ENVIRONMENT}]"] = config.parameters[ENVIRONMENT].string_value.removeprefix(
                MODEL_DIRECTORY
            )
    for where, name in names.items():
        trouble = shell_trouble(name)
        if trouble:
            yield error(where, f"the name {name!r} {trouble}", SAFE_NAMES)


def _backend(config: ModelConfig, context: RuleContext) -> Problems:
    backend, platform = config.backend, config.platform
    if platform == ENSEMBLE:
        if backend:
            yield error("backend", f"an ensemble has the backend {backend!r}", "Leave backend out of an ensemble.")
        if not config.HasField("ensemble_scheduling"):
            yield error("ensemble_scheduling", "an ensemble has no steps", "Add ensemble_scheduling with its steps.")
        return
    if not backend and not config.HasField("ensemble_scheduling"):
        if platform not in {each for known in PLATFORMS.values() for each in known} and not _inferred(config, context):
            said = f"platform {platform!r} is none that Triton has a backend for" if platform else "there is no backend"
            yield error("backend", said, 'Set backend, such as backend: "wasm".')
        return
    if context.backends is not None and backend and backend not in context.backends:
        known = ", ".join(sorted(context.backends))
        yield error(
            "backend", f"the server has no backend {backend!r}", f"Install it, or use one that is there: {known}."
        )
    allowed = PLATFORMS.get(backend, ())
    if allowed and platform and platform not in allowed:
        yield error(
            "platform",
            f"platform {platform!r} does not go with backend {backend!r}",
            f"Leave it out, or set {' or '.join(allowed)}.",
        )
    runtime = RUNTIMES.get(backend)
    if runtime and config.runtime not in ("", runtime):
        said = f"the backend {backend!r} has no runtime {config.runtime!r}"
        yield error("runtime", said, f"Leave it out (the server finds {'its own' if backend == 'wasm' else runtime}).")
    elif backend == "wasm" and config.runtime:
        yield warning(
            "runtime",
            f"{config.runtime!r} can become the runtime of the server's other 'wasm' models as well",
            "Leave it out: the parameter wasm.engine chooses what runs a module.",
        )


def _inferred(config: ModelConfig, context: RuleContext) -> bool:
    """Whether Triton derives the backend from a file name, or from a folder called ``<name>.<backend>``."""
    named = config.default_model_filename
    if named or config.platform or context.folder is None:
        return named in MODEL_FILES
    first = next(iter(version_folders(context.folder)), None)
    files = {path.name for path in first.iterdir()} if first is not None else set()
    return bool(files & MODEL_FILES) or "." in context.folder.name


def _parameters(config: ModelConfig) -> Problems:
    value = config.parameters[FORCE_CPU].string_value if FORCE_CPU in config.parameters else "yes"
    if config.backend in PYTHON_BASED and value not in ("yes", "no"):
        yield error(f"parameters[{FORCE_CPU}]", f"it is {value!r}", "Set yes or no.")


def _metrics(config: ModelConfig) -> Problems:
    # Triton 2.51 does not know the field, so its text does not parse there; the checks are those of later releases.
    yield warning(
        "model_metrics",
        "Triton 2.51 and older cannot read a configuration with model_metrics",
        "Leave it out, unless every server is newer.",
    )
    for i, control in enumerate(config.model_metrics.metric_control):
        where = f"model_metrics.metric_control[{i}]"
        if not control.metric_identifier.family:
            yield error(f"{where}.metric_identifier.family", "it names no metric family", "Name the metric family.")
        if not control.histogram_options.buckets:
            yield error(f"{where}.histogram_options.buckets", "there are no buckets", "List the buckets' bounds.")

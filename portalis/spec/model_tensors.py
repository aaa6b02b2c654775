"""The inputs and outputs of a Triton model (requirements 2.3)."""

from __future__ import annotations

from .base import Choice, Dim, NonEmpty, Path, Structure


class DataType(Choice):
    """Triton's data types; STRING and BYTES are the same type."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    STRING = "STRING"
    BYTES = "BYTES"

    @property
    def triton(self) -> str:
        """The name in ``config.pbtxt``."""
        return "TYPE_STRING" if self.value in ("STRING", "BYTES") else f"TYPE_{self.value}"


class TensorFormat(Choice):
    """The order of the dimensions of an image."""

    Linear = "Linear"
    NHWC = "NHWC"
    NCHW = "NCHW"


class ModelInput(Structure):
    """One input. `dims` exclude the batch dimension; -1 is any size."""

    name: NonEmpty
    data_type: DataType
    dims: tuple[Dim, ...]
    format: TensorFormat | None = None
    optional: bool = False
    reshape: tuple[Dim, ...] | None = None
    """The shape that the model itself expects, with as many elements as `dims`."""
    allow_ragged_batch: bool = False
    """Whether the requests of a batch can have different shapes."""
    is_shape_tensor: bool = False


class ModelOutput(Structure):
    """One output. `dims` exclude the batch dimension; -1 is any size."""

    name: NonEmpty
    data_type: DataType
    dims: tuple[Dim, ...]
    label_filename: Path | None = None
    """A file with a line for each class; it is copied into the model."""
    reshape: tuple[Dim, ...] | None = None
    is_shape_tensor: bool = False


class BatchInputKind(Choice):
    """The information that Triton passes to a model about a ragged batch."""

    BATCH_ELEMENT_COUNT = "BATCH_ELEMENT_COUNT"
    BATCH_ACCUMULATED_ELEMENT_COUNT = "BATCH_ACCUMULATED_ELEMENT_COUNT"
    BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO = "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO"
    BATCH_MAX_ELEMENT_COUNT_AS_SHAPE = "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE"
    BATCH_ITEM_SHAPE = "BATCH_ITEM_SHAPE"
    BATCH_ITEM_SHAPE_FLATTEN = "BATCH_ITEM_SHAPE_FLATTEN"


class BatchInput(Structure):
    """An input that Triton creates for a ragged batch from the source inputs."""

    kind: BatchInputKind
    target_name: tuple[NonEmpty, ...]
    data_type: DataType
    source_input: tuple[NonEmpty, ...]


class BatchOutputKind(Choice):
    """The way in which Triton splits an output of a ragged batch."""

    BATCH_SCATTER_WITH_INPUT_SHAPE = "BATCH_SCATTER_WITH_INPUT_SHAPE"


class BatchOutput(Structure):
    """An output that Triton splits among the requests of a ragged batch like the source input."""

    target_name: tuple[NonEmpty, ...]
    kind: BatchOutputKind = BatchOutputKind.BATCH_SCATTER_WITH_INPUT_SHAPE
    source_input: tuple[NonEmpty, ...]

"""The Python counterpart of softmax.wasm, in straightforward NumPy. `make bench` and `portalis demo` compare both."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Softmax over the last axis."""

    @staticmethod
    def auto_complete_config(config):  # type: ignore[no-untyped-def]
        config.set_max_batch_size(64)
        config.add_input({"name": "x", "data_type": "TYPE_FP32", "dims": [-1]})
        config.add_output({"name": "y", "data_type": "TYPE_FP32", "dims": [-1]})
        return config

    def execute(self, requests):  # type: ignore[no-untyped-def]
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            e = np.exp(x - x.max(axis=-1, keepdims=True))
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", e / e.sum(axis=-1, keepdims=True))]))
        return responses

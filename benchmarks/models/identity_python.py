"""The Python counterpart of the WebAssembly identity model: it returns its input."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Returns x as y."""

    def execute(self, requests):  # type: ignore[no-untyped-def]
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x)]))
        return responses

"""The Python counterpart of image_preprocess.wasm: Pillow resizes, NumPy normalizes. `make bench` compares both.

Pillow rounds the resized image to integer gray levels, so the outputs can differ by one of 255 levels.
"""

import numpy as np
import triton_python_backend_utils as pb_utils
from PIL import Image

SIDE = 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def preprocess(image: np.ndarray) -> np.ndarray:
    """UINT8 [height, width, 3] to FP32 [3, 224, 224], without the antialiasing of `Image.resize`."""
    height, width, _ = image.shape
    scale = (width / SIDE, 0, 0, 0, height / SIDE, 0)
    resized = Image.fromarray(image).transform((SIDE, SIDE), Image.Transform.AFFINE, scale, Image.Resampling.BILINEAR)
    return ((np.asarray(resized, np.float32) / 255 - MEAN) / DEVIATION).transpose(2, 0, 1)


class TritonPythonModel:
    """Bilinear resize to 224 x 224 and ImageNet normalization, HWC to CHW."""

    @staticmethod
    def auto_complete_config(config):  # type: ignore[no-untyped-def]
        config.set_max_batch_size(16)
        config.add_input({"name": "image", "data_type": "TYPE_UINT8", "dims": [-1, -1, 3]})
        config.add_output({"name": "pixels", "data_type": "TYPE_FP32", "dims": [3, 224, 224]})
        return config

    def execute(self, requests):  # type: ignore[no-untyped-def]
        responses = []
        for request in requests:
            images = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
            pixels = np.stack([preprocess(image) for image in images])
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("pixels", pixels)]))
        return responses

"""The Python model that wordpiece.wasm replaces: Hugging Face's `tokenizers`, which is Rust inside. `make bench`
measures one against the other; vocab.txt lies beside this file."""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import BertWordPieceTokenizer


class TritonPythonModel:
    """BERT's uncased tokenizer: texts to ids and mask, padded to the longest text of the request."""

    @staticmethod
    def auto_complete_config(config):  # type: ignore[no-untyped-def]
        config.add_input({"name": "text", "data_type": "TYPE_STRING", "dims": [-1]})
        config.add_output({"name": "input_ids", "data_type": "TYPE_INT64", "dims": [-1, -1]})
        config.add_output({"name": "attention_mask", "data_type": "TYPE_INT64", "dims": [-1, -1]})
        return config

    def initialize(self, args):  # type: ignore[no-untyped-def]
        folder = Path(args["model_repository"]) / args["model_version"]
        self.tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
        self.tokenizer.enable_truncation(512)
        self.tokenizer.enable_padding()

    def execute(self, requests):  # type: ignore[no-untyped-def]
        responses = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
            found = self.tokenizer.encode_batch([text.decode("utf-8", "replace") for text in texts])
            ids = np.array([text.ids for text in found], np.int64)
            mask = np.array([text.attention_mask for text in found], np.int64)
            outputs = [pb_utils.Tensor("input_ids", ids), pb_utils.Tensor("attention_mask", mask)]
            responses.append(pb_utils.InferenceResponse(outputs))
        return responses

"""Greedy non-maximum suppression in NumPy, applied to a detector's boxes around three objects."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

RTOL, ATOL = 0.0, 0.0


def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    objects = np.array([[30, 40, 130, 180], [200, 60, 330, 150], [90, 210, 260, 300]], np.float32)
    boxes = np.concatenate([o + rng.normal(0, 6, (8, 4)).astype(np.float32) for o in objects])
    scores = rng.uniform(0.3, 0.99, len(boxes)).astype(np.float32)
    return {"boxes": boxes, "scores": scores, "iou_threshold": np.array([0.5], np.float32)}


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    def area(b: np.ndarray) -> np.ndarray:
        sides = np.maximum(b[..., 2:] - b[..., :2], 0)
        return np.asarray(sides[..., 0] * sides[..., 1])

    sides = np.maximum(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0)
    shared = sides[:, 0] * sides[:, 1]
    both = area(box) + area(boxes) - shared
    overlap: np.ndarray = np.divide(shared, both, out=np.zeros_like(shared), where=both > 0)
    return overlap


def reference(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    boxes, scores = given["boxes"], given["scores"]
    iou = given["iou_threshold"][0] if "iou_threshold" in given else np.float32(0.5)
    least = given["score_threshold"][0] if "score_threshold" in given else np.float32(0)
    order = [int(i) for i in np.argsort(-scores, kind="stable") if scores[i] >= least]
    kept: list[int] = []
    for i in order:
        if not kept or (_overlap(boxes[i], boxes[kept]) <= iou).all():
            kept.append(i)
    return {"indices": np.array(kept, np.int64)}


def describe(given: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> list[str]:
    kept = got["indices"]
    lines = [f"{len(given['boxes'])} boxes -> {len(kept)} kept"]
    lines += [
        f"  box {np.round(given['boxes'][i]).astype(int).tolist()} with score {given['scores'][i]:.2f}" for i in kept
    ]
    return lines

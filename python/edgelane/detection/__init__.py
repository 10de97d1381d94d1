"""Object detectors from `.lane` files, with numpy alone: the image's preparation, and what follows the raw outputs.

Anchors, box decoding, score filters, suppression, RoIAlign and masks make tensors whose sizes depend on the image, so
they are not in the `.lane` file. `edgelane.export.detection` writes the networks and describes this part in their
metadata.
"""

from edgelane.detection.detector import Detections, Detector

__all__ = ["Detections", "Detector"]

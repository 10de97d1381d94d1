"""From a trained network to a deployed file: ONNX export, the compiler to `.lane`, and TensorRT engines."""

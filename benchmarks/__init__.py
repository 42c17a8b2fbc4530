"""The race: deltarule against NumPy, scikit-learn, PyTorch, JAX and ONNX Runtime. Not a test."""

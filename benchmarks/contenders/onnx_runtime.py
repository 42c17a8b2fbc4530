"""ONNX Runtime on the CPU: Gemm and activation nodes, NumPy arrays in and out."""

from __future__ import annotations

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks import networks

OPSET, IR_VERSION = 17, 9


def version() -> str:
    return onnxruntime.__version__


def model(task) -> bytes:
    nodes, constants, name = [], [], "X"
    activation = {"tanh": "Tanh", "relu": "Relu"}[task.activation]
    final = {"identity": "Identity", "sigmoid": "Sigmoid", "softmax": "Softmax"}[task.output]
    layers = networks.weights(task)
    for i, (W, b) in enumerate(layers):
        constants += [numpy_helper.from_array(W, f"W{i}"), numpy_helper.from_array(b, f"b{i}")]
        last = i == len(layers) - 1
        bare = last and final == "Identity"
        nodes.append(helper.make_node("Gemm", [name, f"W{i}", f"b{i}"], ["Y" if bare else f"Z{i}"]))
        if not bare:
            output = "Y" if last else f"A{i}"
            nodes.append(helper.make_node(final if last else activation, [f"Z{i}"], [output]))
        name = f"A{i}"
    border = [
        helper.make_tensor_value_info(end, TensorProto.FLOAT, ["n", width])
        for end, width in (("X", task.sizes[0]), ("Y", task.sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "mlp", border[:1], border[1:], constants)
    opsets = [helper.make_opsetid("", OPSET)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(made)
    return made.SerializeToString()


class Predict:
    def __init__(self, task, variant, n_threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
        self.session = onnxruntime.InferenceSession(
            model(task), options, providers=["CPUExecutionProvider"]
        )
        self.feed = {"X": networks.data(task)[0]}

    def reset(self):
        pass

    def run(self, count):
        run, names, feed = self.session.run, ["Y"], self.feed
        for _ in range(count):
            self.last = run(names, feed)

    def result(self):
        return self.last[0]

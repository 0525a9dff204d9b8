def register_skl2onnx(): pass

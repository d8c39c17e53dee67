"""What the exports of both frameworks share: torch alone at import; onnx and onnxruntime are imported where used."""

"""The network of the defect detector, which labels windows of an image."""

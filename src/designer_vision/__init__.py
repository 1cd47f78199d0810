"""Azure ML designer's computer-vision modules as v2 command components."""

__version__ = "0.1.0"

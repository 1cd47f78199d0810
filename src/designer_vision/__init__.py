"""Azure ML designer's computer-vision modules as v2 command components."""

__version__ = "0.2.0"

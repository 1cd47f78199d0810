"""The components' processes: one thin file each, `python -m designer_vision.entry.<component>`."""

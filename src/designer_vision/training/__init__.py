"""Train PyTorch Model's own rooms: parameters, ranks, loader, schedule, metrics and the trainer."""

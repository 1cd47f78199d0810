"""Networks at work: scoring, evaluation, serving."""

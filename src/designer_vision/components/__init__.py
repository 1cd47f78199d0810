"""What each component does, from its inputs to its outputs; `entry` has its command line."""

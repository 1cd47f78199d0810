"""A canvas on this machine: the pipeline YAML that `az ml` takes, drawn, changed, run and watched in a browser."""

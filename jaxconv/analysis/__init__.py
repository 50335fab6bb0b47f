"""Model analysis from the jaxpr: summary, receptive fields, memory."""

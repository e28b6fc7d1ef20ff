"""The HTML report: one self-contained file about runs, latent space, drift, healings and gates."""

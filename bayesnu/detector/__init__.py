"""The detector response: true (E_e, E_e θ²) to reconstructed bins, precomputed."""

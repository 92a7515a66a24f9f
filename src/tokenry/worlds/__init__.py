"""Made data with known truth, so that an effect can be proved without a download."""

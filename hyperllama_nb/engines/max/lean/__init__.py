"""A lean engine on MAX, run by MAX's own interpreter under the name `hyperllama_lean`."""

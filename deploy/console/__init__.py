"""The control plane of this machine: one HTTP application over a `Backend`, which the layer above implements and injects."""

"""l7proxy: an HTTP-aware, sidecar-less node proxy with eBPF socket redirection."""

__version__ = "0.1.0"

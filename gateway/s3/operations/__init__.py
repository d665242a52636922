"""One function per S3 operation: request head → use case → answer. The table says which there
are."""

"""Programs that the benchmark runs in fresh processes, byte-compiled as any module is."""

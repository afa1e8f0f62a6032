"""bayesnu timed beside what a user would pick instead; `benchmarks.run` measures all rows."""

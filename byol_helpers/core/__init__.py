"""What every room stands on: profiles, the run folder and its stages, files, progress, intervals."""

"""The thesis as data, and its claims beside what a run measured."""

"""The output of a job: where its files lie, its columns, and how it is read and written."""

"""What a job leaves behind: stores on any filesystem, resumable tables, documents, and whose they are."""

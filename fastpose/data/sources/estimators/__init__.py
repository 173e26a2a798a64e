"""What pose estimators write, one file a form: recognised by its content, and read as ``FoundClip``."""

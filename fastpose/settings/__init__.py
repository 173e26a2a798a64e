"""What a user may choose: settings of an experiment, named presets, and files of them."""

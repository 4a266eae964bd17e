"""The trainers: one program a stage, started as `python -m training.trainers.<stage> --config file.json`."""

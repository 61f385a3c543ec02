"""Pictures of one run and of many, in one style: matplotlib figures, written by `lth.report.output.save_picture`."""

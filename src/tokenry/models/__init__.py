"""Language models: open and score (`lm`), time (`generation`), train (`batches`, `training`, `partial`), and edit on
disk (`files`). Needs the extra `models`."""

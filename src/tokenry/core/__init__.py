"""The ground floor: documents, vocabularies, maps, numbers, runs and reports. Nothing here imports torch."""

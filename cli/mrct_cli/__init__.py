"""The commands mrct, mrct-train, mrct-export and mrct-infer."""

"""Fine-tuning: text and labels → a checkpoint folder."""

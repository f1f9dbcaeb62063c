"""The operator: turns SpeechTrainingJobs into pods, and facts about pods into status."""

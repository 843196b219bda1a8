"""What the data of a set contradict, before anything is learned from them: times, lengths, segments, labels."""

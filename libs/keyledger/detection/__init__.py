"""Rules over auth events: pure folds that say alerts."""

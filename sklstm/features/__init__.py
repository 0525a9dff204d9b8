"""Features of a Keras model as sequences, and the cache that keeps them."""

from sklstm.features._cache import clear_feature_cache, set_feature_cache_size
from sklstm.features._feature_sequencer import FeatureSequencer

__all__ = ["FeatureSequencer", "clear_feature_cache", "set_feature_cache_size"]

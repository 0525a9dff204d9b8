"""From a specification to a trained Keras network. Knows nothing of scikit-learn.

The modules are private. `sklstm.estimators` shows what users need of them.
"""

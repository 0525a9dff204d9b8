"""Display classes, which draw fitted objects with matplotlib."""

from sklstm.inspection._reliability_display import ReliabilityDisplay
from sklstm.inspection._risk_coverage_display import RiskCoverageDisplay
from sklstm.inspection._scan_display import ScanDisplay
from sklstm.inspection._search_display import SearchDisplay
from sklstm.model_selection._comparison_display import ComparisonDisplay
from sklstm.model_selection._training_display import TrainingDisplay

__all__ = [
    "ComparisonDisplay",
    "ReliabilityDisplay",
    "RiskCoverageDisplay",
    "ScanDisplay",
    "SearchDisplay",
    "TrainingDisplay",
]

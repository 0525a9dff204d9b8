"""Display classes, attributions to pixels, and a report."""

from sklstm.inspection._attribution import attribute
from sklstm.inspection._attribution_display import AttributionDisplay
from sklstm.inspection._defect_display import DefectDisplay
from sklstm.inspection._faithfulness import Faithfulness, faithfulness
from sklstm.inspection._reliability_display import ReliabilityDisplay
from sklstm.inspection._report import report
from sklstm.inspection._risk_coverage_display import RiskCoverageDisplay
from sklstm.inspection._scan_display import ScanDisplay
from sklstm.inspection._search_display import SearchDisplay
from sklstm.model_selection._comparison_display import ComparisonDisplay
from sklstm.model_selection._leakage_display import LeakageDisplay
from sklstm.model_selection._robustness import RobustnessDisplay
from sklstm.model_selection._training_display import TrainingDisplay

__all__ = [
    "AttributionDisplay",
    "ComparisonDisplay",
    "DefectDisplay",
    "Faithfulness",
    "LeakageDisplay",
    "ReliabilityDisplay",
    "RiskCoverageDisplay",
    "RobustnessDisplay",
    "ScanDisplay",
    "SearchDisplay",
    "TrainingDisplay",
    "attribute",
    "faithfulness",
    "report",
]

"""What a run leaves on disk: typed JSONL rows while it runs, one summary when it is done.

Everything that later reads a run (the report, the console table, `compare`) reads only these records.
Scores and changes are fractions in [0, 1] unless the field says otherwise; changes are oriented so that
positive is better, for every metric (bits per byte are negated before they become a change).
"""

from __future__ import annotations

from keeptune.core.records.arms import (
    PROMPTING,
    ArmParts,
    ArmSummary,
    Costs,
    Drift,
    FrontierPoint,
    Matched,
    RemedyDose,
    TaskScore,
)
from keeptune.core.records.base import Part, Record
from keeptune.core.records.forecast import Forecast, ForecastRecord, MemoryAccount
from keeptune.core.records.items import Estimate, Interval, ItemRecord, Score
from keeptune.core.records.manifest import Manifest
from keeptune.core.records.read_write import json_text, read_json, read_records, write_json, write_records
from keeptune.core.records.search import SearchPoint, SearchSummary, SuiteLoss
from keeptune.core.records.study import (
    ArmPlan,
    CurvePoint,
    DataCard,
    HeldOut,
    LearningCurve,
    Recommendation,
    RehearsalCard,
    SampleOutput,
    SequenceSummary,
    Summary,
    WordingGap,
)
from keeptune.core.records.training import (
    EngineRecord,
    RowLoss,
    SkippedRecord,
    SpikeRecord,
    StepRecord,
    ValidationRecord,
)
from keeptune.core.records.verdicts import (
    OPEN,
    UNSETTLED,
    LossGroup,
    LostItem,
    Overall,
    SuiteLosses,
    SuiteVerdict,
    Verdict,
)

# fmt: off
__all__ = [
    "OPEN", "PROMPTING", "UNSETTLED", "ArmParts", "ArmPlan", "ArmSummary", "Costs", "CurvePoint", "DataCard", "Drift",
    "EngineRecord", "Estimate", "Forecast", "ForecastRecord", "FrontierPoint", "HeldOut", "Interval", "ItemRecord",
    "LearningCurve", "LossGroup", "LostItem", "Manifest", "Matched", "MemoryAccount", "Overall", "Part",
    "Recommendation", "Record", "RehearsalCard", "RemedyDose", "RowLoss", "SampleOutput", "Score", "SearchPoint",
    "SearchSummary", "SequenceSummary", "SkippedRecord", "SpikeRecord", "StepRecord", "SuiteLoss", "SuiteLosses",
    "SuiteVerdict", "Summary", "TaskScore", "ValidationRecord", "Verdict", "WordingGap", "json_text", "read_json",
    "read_records", "write_json", "write_records",
]

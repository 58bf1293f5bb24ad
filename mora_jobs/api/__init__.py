"""The API of the three kinds (mora.dev/v1alpha1): the single source of CRDs, validation, documentation and status.

Imports nothing but pydantic and the standard library: the operator and the command line load it without torch or Ray.
"""

from .align import AlignmentJob, AlignmentResult, AlignmentSpec, AlignmentStatus
from .base import API_VERSION, GROUP, VERSION, JobRef, Model, Rule
from .cluster import ClusterSpec, CommonSpec, Credential, Output, OverwritePolicy
from .identity import identity
from .inputs import Adapter, Engine, EngineType, ModelRef, OpenAICompatible, PromptFormat, Prompts, Sampling
from .metadata import ObjectMeta
from .methods import MethodName, PairRule
from .progress import Desired, ProgressReply, ProgressReport
from .resolved import KINDS, Job, ResolvedJob
from .rewards import (
    Aggregation,
    AggregationMethod,
    ClassifierReward,
    HttpReward,
    JudgeReward,
    PythonReward,
    Reward,
    Scale,
    Template,
)
from .rewrite import RewriteJob, RewriteResult, RewriteSpec, RewriteStatus
from .rollout import Criterion, Isolation, RolloutJob, RolloutResult, RolloutSpec, RolloutStatus
from .status import (
    AttemptExit,
    CommonStatus,
    Condition,
    ConditionStatus,
    ConditionType,
    Exit,
    ExitClass,
    Links,
    Metric,
    OutputRef,
    Phase,
    Progress,
    number,
)
from .training import FrontStrategy, Pairs, Regime

__all__ = [
    "API_VERSION", "GROUP", "KINDS", "VERSION",
    "Adapter", "Aggregation", "AggregationMethod", "AlignmentJob", "AlignmentResult", "AlignmentSpec", "AlignmentStatus",
    "AttemptExit",
    "ClassifierReward", "ClusterSpec", "CommonSpec", "CommonStatus", "Condition", "ConditionStatus", "ConditionType",
    "Credential", "Criterion", "Desired", "Engine", "EngineType", "Exit", "ExitClass", "FrontStrategy", "HttpReward",
    "Isolation", "Job", "JobRef", "JudgeReward", "Links", "MethodName", "Metric", "Model", "ModelRef", "ObjectMeta",
    "OpenAICompatible", "Output", "OutputRef", "OverwritePolicy", "PairRule", "Pairs", "Phase", "Progress",
    "ProgressReply", "ProgressReport", "PromptFormat", "Prompts", "PythonReward", "Regime", "ResolvedJob", "Reward",
    "RewriteJob", "RewriteResult", "RewriteSpec", "RewriteStatus", "RolloutJob", "RolloutResult", "RolloutSpec",
    "RolloutStatus", "Rule", "Sampling", "Scale", "Template", "identity", "number",
]  # fmt: skip

"""The training methods, by their names in spec.method.name."""

from mora_jobs.align.methods.base import Answers, Method, Needs
from mora_jobs.align.methods.cagrad import RACO, CAGrad
from mora_jobs.align.methods.dpo import DPO
from mora_jobs.align.methods.group_dro import GroupDRO
from mora_jobs.align.methods.lire import LIRE
from mora_jobs.align.methods.mgda import MGDA
from mora_jobs.align.methods.mgda_decoupled import MGDADecoupled
from mora_jobs.align.methods.mgda_normalised import MGDANormalised
from mora_jobs.align.methods.modpo import MODPO
from mora_jobs.align.methods.mopo import MOPO
from mora_jobs.align.methods.orth_align import OrthAlign
from mora_jobs.align.methods.pairwise import Pairwise
from mora_jobs.api.methods import Method as MethodSpec
from mora_jobs.api.methods import MethodName

__all__ = ["Answers", "Method", "Needs", "make"]

PAIRWISE: dict[MethodName, type[Pairwise]] = {
    MethodName.DPO: DPO,
    MethodName.MGDA: MGDA,
    MethodName.MGDA_NORMALISED: MGDANormalised,
    MethodName.MGDA_DECOUPLED: MGDADecoupled,
    MethodName.GROUP_DRO: GroupDRO,
    MethodName.CAGRAD: CAGrad,
    MethodName.RACO: RACO,
    MethodName.ORTH_ALIGN: OrthAlign,
}


def make(spec: MethodSpec, objectives: tuple[str, ...], weights: tuple[float, ...], primary: str = "") -> Method:
    """The method that the spec names, for objectives with positive weights that sum to 1.

    `primary` is the objective that the spec marks as such: MOPO takes the first one where none is, MODPO the one with the
    largest weight.
    """
    match spec.name:
        case MethodName.MOPO:
            return MOPO(spec, objectives, primary or objectives[0])
        case MethodName.MODPO:
            return MODPO(spec, objectives, weights, primary)
        case MethodName.LIRE:
            return LIRE(spec, objectives, weights)
    return PAIRWISE[spec.name](spec, objectives, weights)

"""What `solve` returns: an `OTResult`, of a class for each kind of solver."""

from kantorch._result.base import OTResult
from kantorch._result.exact import ExactResult, LineResult
from kantorch._result.ipot import IpotResult
from kantorch._result.scaling import SinkhornResult

__all__ = ["ExactResult", "IpotResult", "LineResult", "OTResult", "SinkhornResult"]

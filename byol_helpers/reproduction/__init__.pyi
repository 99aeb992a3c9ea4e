from .measures import ABOVE as ABOVE
from .measures import Measure as Measure
from .measures import subtract_objectives as subtract_objectives
from .thesis import load_thesis as load_thesis
from .verdicts import DECIMALS as DECIMALS
from .verdicts import VERDICTS as VERDICTS
from .verdicts import build_scorecard as build_scorecard
from .verdicts import decide_verdict as decide_verdict

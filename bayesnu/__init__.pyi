# ruff: noqa: F401
from bayesnu.experiment.load import card_schema as schema
from bayesnu.experiment.own import new_experiment as new
from bayesnu.experiment.predict import predict as predict
from bayesnu.experiment.setup import load_combination as load_combination
from bayesnu.experiment.setup import load_experiment as load_experiment
from bayesnu.experiment.setup import with_parameters as with_parameters
from bayesnu.export.run import export_run as export_run
from bayesnu.report.analysis import run as run
from bayesnu.report.build import write_report as write_report
from bayesnu.resources import shipped_data as data
from bayesnu.resources import shipped_models as models
from bayesnu.results.calibration import calibrate as calibrate
from bayesnu.results.check import check_card as check
from bayesnu.results.cite import cite as cite
from bayesnu.results.combination import combined_limits as combined_limits
from bayesnu.results.contour import contour as contour
from bayesnu.results.coverage import coverage as coverage
from bayesnu.results.discrimination import discriminate as discriminate
from bayesnu.results.limits import limit as limit
from bayesnu.results.limits import scan as scan
from bayesnu.results.optimise import optimise as optimise
from bayesnu.results.prior_study import card_study as priors
from bayesnu.results.region import region as region
from bayesnu.results.response import describe_response as describe_response
from bayesnu.results.runs import compare as compare
from bayesnu.results.runs import load_run as load_run
from bayesnu.results.sensitivity import sensitivity as sensitivity
from bayesnu.results.toy_limits import ToyRunner as ToyRunner
from bayesnu.results.toys import make_toys as toys
from bayesnu.results.weighted import draw as draw
from bayesnu.workers import open_workers as open_workers

__version__: str
PUBLIC: dict[str, tuple[str, str]]
__all__: tuple[str, ...]

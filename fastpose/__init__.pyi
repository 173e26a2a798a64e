from fastpose import data as data
from fastpose import models as models
from fastpose import ops as ops
from fastpose.prediction.predictor import predict as predict

__version__: str

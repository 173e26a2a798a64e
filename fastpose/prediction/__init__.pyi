from fastpose.prediction.predictor import Prediction as Prediction
from fastpose.prediction.predictor import Predictor as Predictor
from fastpose.prediction.predictor import predict as predict
from fastpose.prediction.stream import Stream as Stream

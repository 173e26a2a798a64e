from fastpose.weights.loading import load_checkpoint as load_checkpoint
from fastpose.weights.pushing import push as push
from fastpose.weights.runs import load_card as load_card
from fastpose.weights.runs import load_model as load_model

from fastpose.models.inputs.joint_input import JointInput as JointInput
from fastpose.models.inputs.pose_input import PoseInput as PoseInput
from fastpose.models.inputs.pose_input import prepare_input as prepare_input

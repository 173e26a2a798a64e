"""Backbones with their heads, and their checkpoints."""

from fastpose._lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "JointInput": "inputs.joint_input",
        "ModelOutput": "outputs",
        "MotionBERT": "motionbert",
        "PoseConv3D": "posec3d",
        "PoseModel": "inputs.protocol",
        "create_model": "registry",
        "load_checkpoint": "fastpose.weights.loading",
        "prepare_input": "inputs.pose_input",
        "register_model": "registry",
    },
)

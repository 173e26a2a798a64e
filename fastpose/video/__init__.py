"""From videos to keypoints, and keypoints drawn onto videos; needs the packages of the extra `video`."""

#include "clip_packer.hpp"
